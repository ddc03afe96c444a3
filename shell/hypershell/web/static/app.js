// SPDX-License-Identifier: Apache-2.0
// The list of VMs, kept up to date, and what is done to them.

import { live, verb } from "/api.js";
import { Detail } from "/detail.js";
import { ask, create } from "/dialogs.js";
import { byId, el, rate, say, size, toast } from "/dom.js";
import { draw, repaint, Series } from "/graph.js";

const SERIES = {
	cpu: "cpu_percent", memory: "resident", read: "disk_read_per_second", written: "disk_written_per_second",
	received: "net_received_per_second", sent: "net_sent_per_second",
};
const ENDED = ["stopped", "crashed", "defined"];
const rows = new Map(); // key → what is drawn of a VM
const host = { cpu: new Series(), memory: new Series() };
let vms = []; // the last picture's, then what is only defined
let defined = [];
let picture = null;
let chosen = null; // key of the chosen VM

const keyOf = (vm) => (vm.state === "defined" ? `d ${vm.name}` : String(vm.id));
const byKey = (key) => vms.find((vm) => keyOf(vm) === key);

// ---- what can be done

const ACTIONS = {
	start: { text: "Start", run: (vm) => verb("vm_start", { vm: [vm.state === "defined" ? vm.name : vm.id] }) },
	stop: { text: "Stop", title: "Press the power button (s)", run: (vm) => verb("vm_stop", { vm: [vm.id] }) },
	pause: { text: "Pause", title: "Stop its CPUs (p)", run: (vm) => verb("vm_pause", { vm: [vm.id] }) },
	resume: { text: "Resume", title: "Let it go on (p)", run: (vm) => verb("vm_resume", { vm: [vm.id] }) },
	restart: { text: "Restart", run: (vm) => verb("vm_restart", { vm: [vm.id], force: vm.state === "panicked" }) },
	snapshot: { text: "Snapshot", title: "Save it as it is this moment", run: (vm) => verb("vm_snapshot", { vm: vm.id }) },
	kill: { text: "Kill", danger: true, sure: "What its guest has not written is lost.", run: (vm) => verb("vm_kill", { vm: [vm.id] }) },
	destroy: { text: "Destroy", danger: true, sure: "It ends and is forgotten; its image stays.", run: (vm) => verb("vm_destroy", { vm: [vm.id] }) },
	undefine: { text: "Undefine", danger: true, sure: "Its definition is forgotten.", run: (vm) => verb("vm_undefine", { name: [vm.name] }) },
};
for (const [name, action] of Object.entries(ACTIONS)) action.name = name;

function actions(vm) {
	const names = {
		running: ["stop", "pause", "restart", "snapshot", "kill", "destroy"],
		paused: ["resume", "snapshot", "kill", "destroy"],
		defined: ["start", "undefine"],
		panicked: ["restart", "kill", "destroy"],
		unresponsive: ["kill", "destroy"],
		starting: ["kill"],
	}[vm.state] ?? ["start", "destroy"];
	return names.map((name) => ACTIONS[name]);
}

async function act(action, vm, button = null) {
	if (action.sure && !(await ask(`${action.text} ${vm.name}?`, action.sure, action.text))) return;
	button?.setAttribute("aria-busy", "true");
	try {
		const answer = await action.run(vm);
		toast(answer.output?.trim() || "Done.");
		look();
	} catch (error) {
		toast(error.message, true);
	} finally {
		button?.removeAttribute("aria-busy");
	}
}

// ---- the list

const eyes = new IntersectionObserver((entries) => {
	for (const entry of entries) entry.target.inView = entry.isIntersecting;
	render();
});

function row(vm) {
	const key = keyOf(vm);
	const made = { key, history: Object.fromEntries(Object.keys(SERIES).map((name) => [name, new Series()])) };
	const figure = (name) => {
		made[name] = { text: el("span"), canvas: el("canvas", { width: 96, height: 26, "aria-hidden": "true" }) };
		return el("td", { class: "figure" }, el("div", {}, made[name].canvas, made[name].text));
	};
	made.name = el("b");
	made.about = el("small");
	made.state = el("span", { class: "state" });
	made.acts = el("td", { class: "actions" });
	made.element = el("tr", { tabindex: -1, "data-key": key, onclick: () => choose(key, "graphs") },
		el("td", { class: "name" }, made.name, made.about), el("td", {}, made.state),
		figure("cpu"), figure("memory"), figure("disk"), figure("net"), made.acts);
	eyes.observe(made.element);
	return made;
}

function quick(vm) {
	const [first] = actions(vm);
	const button = (text, run) => el("button", { onclick: (event) => { event.stopPropagation(); run(event.currentTarget); } }, text);
	return [
		ENDED.includes(vm.state) ? null : button("Console", () => choose(keyOf(vm), "console")),
		first ? button(first.text, (self) => act(first, byKey(keyOf(vm)) ?? vm, self)) : null,
	].filter(Boolean);
}

function refresh(one, vm) {
	say(one.name, vm.name);
	say(one.about, vm.state === "defined" ? "defined" : `${vm.id} · ${vm.kernel?.name ?? "?"}${vm.image ? ` · ${vm.image.name}` : ""}`);
	one.state.className = `state ${vm.state}`;
	say(one.state, vm.state);
	if (one.acted !== vm.state) {
		one.acted = vm.state;
		one.acts.replaceChildren(...quick(vm));
	}
	one.element.setAttribute("aria-selected", String(one.key === chosen));
	const idle = ENDED.includes(vm.state);
	one.element.classList.toggle("idle", idle);
	if (!one.element.inView) return; // of hundreds, only those seen
	say(one.cpu.text, idle ? "" : `${vm.cpu_percent.toFixed(0)} %`);
	say(one.memory.text, idle ? "" : size(vm.resident));
	say(one.disk.text, idle ? "" : rate(vm.disk_read_per_second + vm.disk_written_per_second));
	say(one.net.text, idle ? "" : rate(vm.net_received_per_second + vm.net_sent_per_second));
}

function paint(one, vm, now) {
	if (!one.element.inView) return;
	const line = (name, colour) => ({ points: one.history[name].points, colour });
	draw(one.cpu.canvas, [line("cpu", "--cpu")], now, 100);
	draw(one.memory.canvas, [line("memory", "--memory")], now, vm.memory || 1);
	draw(one.disk.canvas, [line("read", "--read"), line("written", "--write")], now, 65536);
	draw(one.net.canvas, [line("received", "--read"), line("sent", "--write")], now, 65536);
}

function render() {
	if (!picture) return;
	vms = [...picture.vms, ...defined];
	const body = byId("rows");
	const keys = new Set(vms.map(keyOf));
	for (const [key, one] of rows) {
		if (!keys.has(key)) {
			eyes.unobserve(one.element);
			one.element.remove();
			rows.delete(key);
		}
	}
	vms.forEach((vm, index) => {
		const key = keyOf(vm);
		if (!rows.has(key)) rows.set(key, row(vm));
		const one = rows.get(key);
		if (body.children[index] !== one.element) body.insertBefore(one.element, body.children[index] ?? null);
		refresh(one, vm);
	});
	for (const vm of vms) paint(rows.get(keyOf(vm)), vm, picture.time);
	if (!body.querySelector('tr[tabindex="0"]') && body.firstElementChild) body.firstElementChild.tabIndex = 0;
	byId("nothing").hidden = vms.length > 0;
	const vm = chosen === null ? null : byKey(chosen);
	if (vm && detail.vm) detail.update(vm, rows.get(chosen).history, actions(vm), picture.time);
	else if (chosen !== null && !vm) close();
	const cpu = picture.cpu_percent;
	say(byId("host-cpu"), cpu.length ? `${host.cpu.last.toFixed(0)} % of ${cpu.length}` : "–");
	say(byId("host-memory"), `${size(host.memory.last)} of ${size(picture.memory_total)}`);
	draw(byId("host-cpu-graph"), [{ points: host.cpu.points, colour: "--cpu" }], picture.time, 100);
	draw(byId("host-memory-graph"), [{ points: host.memory.points, colour: "--memory" }], picture.time, picture.memory_total);
	byId("problems").replaceChildren(...picture.problems.flatMap((one, index) => [
		index ? " · " : "", el("b", {}, one.topic), ` ${one.state}: ${one.message}`]));
}

function seen(next) {
	if (picture && next.time <= picture.time) return; // after a reconnection: the past once more
	picture = next;
	const cpu = next.cpu_percent;
	host.cpu.add(next.time, cpu.reduce((sum, one) => sum + one, 0) / Math.max(cpu.length, 1));
	host.memory.add(next.time, next.memory_total - next.memory_available);
	for (const vm of next.vms) {
		const key = keyOf(vm);
		if (!rows.has(key)) rows.set(key, row(vm));
		for (const [name, field] of Object.entries(SERIES)) rows.get(key).history[name].add(next.time, vm[field]);
	}
	clearTimeout(seen.timer); // the past comes at once: one drawing is enough
	seen.timer = setTimeout(render);
}

/** What is defined and has no VM. */
async function look() {
	try {
		const listed = await verb("definition_list");
		const none = { cpu_percent: 0, resident: 0, memory: 0, kernel: null, image: null };
		for (const field of Object.values(SERIES)) none[field] = 0;
		defined = listed.filter((one) => one.vm === null).map((one) => ({ ...none, id: null, name: one.name, state: "defined" }));
		render();
	} catch { /* the live figures tell when the host is gone */ }
}

// ---- choosing

function choose(key, tab) {
	const vm = byKey(key);
	if (!vm) return;
	chosen = key;
	focusRow(key, tab !== "console");
	if (vm.state === "defined") detail.close();
	else detail.show(vm, tab);
	render();
}

function focusRow(key, take) {
	for (const element of byId("rows").children) {
		const here = element.dataset.key === key;
		element.tabIndex = here ? 0 : -1;
		if (here && take) element.focus({ preventScroll: false });
	}
}

function close() {
	detail.close();
	const key = chosen;
	chosen = null;
	render();
	focusRow(key, true);
}

const detail = new Detail(act, () => focusRow(chosen, true));

// ---- keys

function step(by) {
	const list = [...byId("rows").children];
	if (!list.length) return;
	const at = list.findIndex((element) => element.tabIndex === 0);
	const next = list[Math.min(Math.max(at + by, 0), list.length - 1)];
	focusRow(next.dataset.key, true);
	if (detail.vm) choose(next.dataset.key, detail.tab === "console" ? "graphs" : detail.tab);
}

const focused = () => byKey(byId("rows").querySelector('tr[tabindex="0"]')?.dataset.key);

const KEYS = {
	ArrowDown: () => step(1), j: () => step(1), ArrowUp: () => step(-1), k: () => step(-1),
	Enter: () => { const vm = focused(); if (vm) choose(keyOf(vm), "graphs"); },
	c: () => { const vm = focused(); if (vm) choose(keyOf(vm), "console"); },
	l: () => { const vm = focused(); if (vm) choose(keyOf(vm), "log"); },
	n: () => create(look),
	s: () => { const vm = focused(); if (vm) act(ENDED.includes(vm.state) ? ACTIONS.start : ACTIONS.stop, vm); },
	p: () => { const vm = focused(); if (vm) act(vm.state === "paused" ? ACTIONS.resume : ACTIONS.pause, vm); },
	"?": () => byId("help").showModal(),
	Escape: () => close(),
};

addEventListener("keydown", (event) => {
	const own = event.target.closest?.("input, select, textarea, dialog, .terminal");
	const pressed = event.target.closest?.("button, a") && event.key === "Enter";
	if (own || pressed || event.ctrlKey || event.altKey || event.metaKey) return;
	const run = KEYS[event.key];
	if (run) {
		event.preventDefault();
		run();
	}
});

// ---- the beginning

function theme(next) {
	if (next) document.documentElement.dataset.theme = next;
	try {
		if (next) localStorage.setItem("theme", next);
		else if (localStorage.getItem("theme")) document.documentElement.dataset.theme = localStorage.getItem("theme");
	} catch { /* a browser that keeps nothing */ }
	repaint();
	render();
}

byId("theme").onclick = () => {
	const now = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark");
	theme(now === "light" ? "dark" : "light");
};
matchMedia("(prefers-color-scheme: light)").onchange = () => theme();
byId("new").onclick = () => create(look);
byId("keys").onclick = () => byId("help").showModal();
theme();
verb("host_info").then((told) => say(byId("hostname"), told.hostname)).catch((error) => toast(error.message, true));
look();
setInterval(look, 10000);
live(seen, (lost) => document.body.classList.toggle("lost", lost));
