# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
# What the parts of rc share. Sourced; starts few processes, because their cost is boot time.
#
# HG_ROOT is put before every path (tests); names that begin with _ are a function's own.

R=${HG_ROOT-}
RUN=$R/run/hypergen
TAB='	'
NL='
'

# Say something to the user: a line of the kernel's log, which PID 1 copies to tty1.
say() {
	printf '<13>hyper-gen: %s\n' "$*" >>"$R/dev/kmsg"
}

# status TOPIC STATE MESSAGE: replace the topic's line of host.status, in one step for readers.
# A state `failed` is said to the user as well. Writers take turns: who creates host.status.new
# owns it until the rename; one that was killed meanwhile does not block the others for long.
status() {
	[ "$2" != failed ] || say "$1: $3"
	_new=$RUN/host.status.new
	_tries=0
	set -C
	until { true >"$_new"; } 2>/dev/null; do
		_tries=$((_tries + 1))
		if [ $_tries -gt 200 ]; then
			rm -f "$_new"
		else
			sleep 0.01
		fi
	done
	set +C
	{
		if [ -e "$RUN/host.status" ]; then
			while IFS= read -r _line; do
				case $_line in
				"$1$TAB"*) ;;
				*) printf '%s\n' "$_line" ;;
				esac
			done <"$RUN/host.status"
		fi
		printf '%s\t%s\t%s\n' "$1" "$2" "$3"
	} >"$_new"
	mv "$_new" "$RUN/host.status"
}

# Take the next word of $REST into $WORD; fails at the end. Blanks separate, except inside "…"
# (kernel: lib/cmdline.c, next_arg). GRUB writes \" \' and \\ for the characters themselves.
next_word() {
	WORD=
	_quoted=
	while :; do
		case $REST in
		[" $TAB"]*) REST=${REST#?} ;;
		*) break ;;
		esac
	done
	[ -n "$REST" ] || return 1
	while [ -n "$REST" ]; do
		case $REST in
		\\[\\\"\']*)
			_tail=${REST#??}
			_part=${REST%"$_tail"}
			WORD=$WORD${_part#?}
			REST=$_tail
			;;
		\"*)
			REST=${REST#?}
			if [ "$_quoted" ]; then _quoted=; else _quoted=1; fi
			;;
		\\*)
			WORD=$WORD\\
			REST=${REST#?}
			;;
		*)
			if [ "$_quoted" ]; then
				_part=${REST%%[\"\\]*}
			else
				_part=${REST%%[\"\\" $TAB"]*}
				[ -n "$_part" ] || return 0
			fi
			WORD=$WORD$_part
			REST=${REST#"$_part"}
			;;
		esac
	done
	return 0
}

# Read the kernel command line into CMD_… variables; the last of equal words counts, but keys add.
read_cmdline() {
	CMD_ROOT='' CMD_TYPE='' CMD_FLAGS='' CMD_MODE=rw CMD_WAIT=10
	CMD_KERNELS='' CMD_IMAGES='' CMD_NET=bridge CMD_HUGEPAGES='' CMD_SSH='' CMD_WEB=''
	IFS= read -r REST <"$R/proc/cmdline" || [ -n "$REST" ] || return 0
	while next_word; do
		case $WORD in
		root=*) CMD_ROOT=${WORD#*=} ;;
		rootfstype=*) CMD_TYPE=${WORD#*=} ;;
		rootflags=*) CMD_FLAGS=${WORD#*=} ;;
		ro | rw) CMD_MODE=$WORD ;;
		rootwait) CMD_WAIT=forever ;;
		rootwait=* | rootdelay=*) seconds "$WORD" && CMD_WAIT=${WORD#*=} ;;
		guest_kernel=*) CMD_KERNELS=${WORD#*=} ;;
		guest_image=*) CMD_IMAGES=${WORD#*=} ;;
		hypergen.net=*) CMD_NET=${WORD#*=} ;;
		hypergen.ssh=*) CMD_SSH=$CMD_SSH${WORD#*=}$NL ;;
		hypergen.web=*) CMD_WEB=${WORD#*=} ;;
		hypergen.hugepages=*) CMD_HUGEPAGES=${WORD#*=} ;;
		esac
	done
}

# Whether NAME=VALUE has a whole number as value; complains otherwise.
seconds() {
	case ${1#*=} in
	'' | *[!0-9]*)
		say "$1: not a number of seconds; ignored"
		return 1
		;;
	esac
}

# The first line of a small file in $LINE, without a process; fails when it cannot be read.
first_line() {
	LINE=
	{ IFS= read -r LINE <"$1"; } 2>/dev/null || [ -n "$LINE" ]
}
