// SPDX-License-Identifier: Apache-2.0
// The chosen VM: what can be done to it, graphs, console, log.

import { verb } from "/api.js";
import { Console } from "/console.js";
import { byId, duration, el, rate, say, size } from "/dom.js";
import { draw } from "/graph.js";

const TABS = [["graphs", "Graphs"], ["console", "Console"], ["log", "Log"]];

const figure = (title, keys) => {
	const canvas = el("canvas");
	const values = keys.map(([name, text]) => [name, text, el("span", { class: `key ${name}` })]);
	const made = el("figure", { class: "graph" }, el("figcaption", {}, el("b", {}, title), ...values.map((one) => one[2])), canvas);
	return { made, canvas, values };
};

export class Detail {
	/** `act(name, vm)` does something to the VM; `left()` is called when the panel is closed. */
	constructor(act, left) {
		this.place = byId("detail");
		this.act = act;
		this.left = left;
		this.vm = null;
	}

	show(vm, tab) {
		if (this.vm && this.vm.id === vm.id && this.tab === tab) return;
		this.clear();
		this.vm = vm;
		this.tab = tab;
		this.title = el("h2", {}, vm.name);
		this.state = el("span", { class: "state" });
		this.acts = el("div", { class: "acts" });
		this.shown = "";
		const tabs = el("div", { class: "tabs", role: "tablist" }, ...TABS.map(([name, text]) => el("button", {
			role: "tab", "aria-selected": String(name === tab), onclick: () => this.show(this.vm, name),
		}, text)));
		this.pane = el("div", { class: `pane ${tab}`, role: "tabpanel" });
		this.place.replaceChildren(el("div", { class: "head" }, this.title, this.state, this.acts), tabs, this.pane);
		this.place.hidden = false;
		byId("detail").parentElement.classList.add("split");
		this[tab]();
	}

	clear() {
		this.console_?.close();
		this.console_ = null;
		clearInterval(this.timer);
		this.figures = null;
	}

	close() {
		if (!this.vm) return;
		this.clear();
		this.vm = null;
		this.place.hidden = true;
		this.place.parentElement.classList.remove("split");
	}

	graphs() {
		this.figures = {
			cpu: figure("CPU", [["cpu", "of one CPU"]]),
			memory: figure("Memory", [["memory", ""]]),
			disk: figure("Disk", [["read", "read"], ["write", "written"]]),
			net: figure("Network", [["read", "in"], ["write", "out"]]),
		};
		this.facts = el("dl", { class: "facts" });
		this.pane.append(el("div", { class: "grid" }, ...Object.values(this.figures).map((one) => one.made)), this.facts);
	}

	console() {
		this.console_ = new Console(this.pane, this.vm.id, this.left);
	}

	log() {
		const text = el("pre", { class: "log", tabindex: 0 }, "…");
		this.pane.append(text);
		const { id } = this.vm;
		const read = async () => {
			const end = this.pane.scrollTop + this.pane.clientHeight >= this.pane.scrollHeight - 4;
			try {
				say(text, (await verb("vm_log", { vm: id, lines: 500 })).output || "It has printed nothing.");
			} catch (error) {
				say(text, error.message);
			}
			if (end) this.pane.scrollTop = this.pane.scrollHeight;
		};
		read();
		this.timer = setInterval(read, 4000);
	}

	/** A new picture: `vm` as it is now, its `history`, and what may be done. */
	update(vm, history, actions, now) {
		if (this.vm.state !== "running" && vm.state === "running") this.console_?.again();
		this.vm = vm;
		say(this.title, `${vm.name}`);
		this.state.className = `state ${vm.state}`;
		say(this.state, vm.reason ? `${vm.state} (${vm.reason})` : vm.state);
		const names = actions.map((one) => one.name).join();
		if (names !== this.shown) {
			this.shown = names;
			this.acts.replaceChildren(...actions.map((one) => el("button", {
				class: one.danger ? "danger" : false, title: one.title, onclick: (event) => this.act(one, this.vm, event.currentTarget),
			}, one.text)));
		}
		if (this.figures) this.paint(vm, history, now);
	}

	paint(vm, history, now) {
		const { cpu, memory, disk, net } = this.figures;
		const line = (name, colour) => ({ points: history[name].points, colour });
		draw(cpu.canvas, [line("cpu", "--cpu")], now, 100, (value) => `${value.toFixed(0)} %`);
		draw(memory.canvas, [line("memory", "--memory")], now, vm.memory || 1, size);
		draw(disk.canvas, [line("read", "--read"), line("written", "--write")], now, 65536, rate);
		draw(net.canvas, [line("received", "--read"), line("sent", "--write")], now, 65536, rate);
		say(cpu.values[0][2], `${vm.cpu_percent.toFixed(0)} %`);
		say(memory.values[0][2], `${size(vm.resident)} of ${size(vm.memory)}`);
		say(disk.values[0][2], `read ${rate(vm.disk_read_per_second)}`);
		say(disk.values[1][2], `written ${rate(vm.disk_written_per_second)}`);
		say(net.values[0][2], `in ${rate(vm.net_received_per_second)}`);
		say(net.values[1][2], `out ${rate(vm.net_sent_per_second)}`);
		const rows = [
			["Id", String(vm.id)], ["Kernel", vm.kernel?.name ?? "?"],
			["Image", vm.image ? `${vm.image.name}${vm.read_only ? " (only read)" : ""}` : "none"],
			["CPUs", String(vm.cpus)], ["Network", vm.net ?? "none"],
			["Runs for", vm.uptime === null ? "–" : duration(vm.uptime)], ["Exits", `${vm.exits_per_second.toFixed(0)}/s`],
			["Command line", vm.cmdline ?? ""],
		];
		if (this.facts.children.length !== rows.length * 2) {
			this.facts.replaceChildren(...rows.flatMap(([name]) => [el("dt", {}, name), el("dd")]));
		}
		rows.forEach(([, text], index) => say(this.facts.children[index * 2 + 1], text));
	}
}
