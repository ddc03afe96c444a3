# SPDX-License-Identifier: Apache-2.0
# A thin face over `python -m hypergen VERB`, in a virtual environment of the project's own.
# `make help` lists the targets (from the ## comments) and the settings.

PYTHON ?= python3
TOP    := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
CACHE  := $(or $(HYPERGEN_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/hypergen)
VENV   := $(CACHE)/venv

# One stamp a dependency list; the environment that has the test tools serves every target.
DIGEST := $(shell sha256sum < '$(TOP)pyproject.toml' | cut -c1-16)
EXTRA  := $(if $(filter test check bench pictures,$(MAKECMDGOALS))$(wildcard $(VENV)/ready-test-$(DIGEST)),test)
READY  := $(VENV)/ready-$(or $(EXTRA),run)-$(DIGEST)

# How `make NAME=value` reaches the tool; hypergen/config.py declares them.
export O HYPERGEN_CACHE JOBS KERNEL_SRC V DISPLAY_MODE FIRMWARE ACCEL QEMU MEMORY CPUS
# Python compiles once, and nothing is written beside the sources.
export PYTHONPYCACHEPREFIX := $(CACHE)/pycache
unexport PYTHONDONTWRITEBYTECODE

HYPERGEN = cd '$(TOP)' && '$(VENV)/bin/python' -m hypergen
KERNEL ?= host

.DEFAULT_GOAL := build
.PHONY: build run guest disk test check fuzz bench pictures menuconfig savedefconfig sources doctor config \
	clean distclean help

build: $(READY) ## out/bzImage: kernel, KVM, VMM and shell in one file (the default)
	@$(HYPERGEN) build

run: $(READY) ## build what has changed and boot it in QEMU, under GRUB
	@$(HYPERGEN) run

guest: $(READY) ## the demo guest: out/guest_kernel/ and out/guest_image/
	@$(HYPERGEN) guest

disk: $(READY) ## out/disk.img, the disk that `make run` boots
	@$(HYPERGEN) disk

test: $(READY) ## everything: build, unit, fuzz and end-to-end tests; ARGS= goes to pytest
	@$(HYPERGEN) test -- $(ARGS)

check: $(READY) ## linters and the quick tests, under a minute
	@$(HYPERGEN) check

fuzz: $(READY) ## fuzz the VMM under ASan and UBSan; TARGET=name (all), SECONDS=each (10)
	@$(HYPERGEN) fuzz $(if $(TARGET),--target $(TARGET)) $(if $(SECONDS),--seconds $(SECONDS)) $(ARGS)

bench: $(READY) ## the figures of docs/performance.md, measured now
	@$(HYPERGEN) bench -- $(ARGS)

pictures: $(READY) ## take the pictures in docs/images/ anew, of the real thing
	@$(HYPERGEN) disk && cd '$(TOP)' && '$(VENV)/bin/python' -m tests.e2e.pictures

menuconfig: $(READY) ## change a kernel's configuration; KERNEL=host or guest
	@$(HYPERGEN) menuconfig $(KERNEL)

savedefconfig: $(READY) ## keep what menuconfig changed in kernel-config/$(KERNEL)/99-local.config
	@$(HYPERGEN) savedefconfig $(KERNEL)

sources: $(READY) ## fetch the Linux source, or verify the one at hand
	@$(HYPERGEN) sources fetch

doctor: ## list the OS programs that are needed, with package and purpose
	@$(PYTHON) -I '$(TOP)hypergen/doctor.py'

config: $(READY) ## show every setting and its value
	@$(HYPERGEN) config

clean: $(READY) ## remove out/ and the build trees; downloads and ccache stay
	@$(HYPERGEN) clean

distclean: $(READY) ## remove all that was ever made, the cache folder included
	@$(HYPERGEN) distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { gsub(/\$$\(KERNEL\)/, "KERNEL", $$2); \
		printf "make %-14s %s\n", $$1, $$2 }' '$(TOP)Makefile'
	@printf '\nSettings, as in `make run O=/tmp/out V=1`:\n'
	@printf '  O=DIR JOBS=N V=1 KERNEL_SRC=DIR HYPERGEN_CACHE=DIR\n'
	@printf '  DISPLAY_MODE=window|curses|serial FIRMWARE=bios|uefi ACCEL=auto|kvm|tcg MEMORY=MIB CPUS=N\n'
	@printf '  QEMU=PROGRAM\n'
	@printf 'The same and more, each with --help: %s -m hypergen VERB\n' '$(VENV)/bin/python'

$(READY): $(TOP)pyproject.toml
	@command -v '$(PYTHON)' >/dev/null || { \
		echo 'hypergen: no $(PYTHON); on Debian: apt-get install python3' >&2; exit 2; }
	@'$(PYTHON)' -I '$(TOP)hypergen/doctor.py' --venv '$(VENV)' $(EXTRA:%=--extra %) --stamp '$@'
