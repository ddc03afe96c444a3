// SPDX-License-Identifier: Apache-2.0
// What asks before it does something.

import { verb } from "/api.js";
import { byId, el, toast } from "/dom.js";

const ready = (dialog, ...children) => {
	dialog.replaceChildren(...children);
	dialog.showModal();
};

/** Ask; true when the answer is yes. */
export function ask(title, text, yes) {
	const dialog = byId("ask");
	return new Promise((resolve) => {
		dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
		dialog.returnValue = "";
		ready(dialog, el("h2", { id: "ask-title" }, title), el("p", {}, text),
			el("form", { method: "dialog", class: "end" },
				el("button", { value: "no", autofocus: true }, "No"),
				el("button", { value: "yes", class: "danger" }, yes)));
	});
}

const choice = (name, options, none) => el("select", { name },
	none === null ? null : el("option", { value: "" }, none),
	...options.map((one) => el("option", { value: String(one.id) }, `${one.id}  ${one.name}`)));

const field = (text, input, wide = false) => el("label", { class: wide ? "wide" : false }, text, input);

/** The form of a new VM. */
export async function create(done) {
	let kernels, images;
	try {
		[kernels, images] = await Promise.all([verb("kernel_list"), verb("image_list")]);
	} catch (error) {
		toast(error.message, true);
		return;
	}
	const said = el("span", { class: "said", role: "alert" });
	const go = el("button", { class: "main" }, "Make and start it");
	const form = el("form", {},
		el("h2", { id: "create-title" }, "New VM"),
		el("div", { class: "fields" },
			field("Name", el("input", { name: "name", placeholder: "vm and its id", autocomplete: "off", autofocus: true }), true),
			field("Kernel", choice("kernel", kernels, null)),
			field("Image", choice("image", images, "none")),
			field("CPUs", el("input", { name: "cpus", type: "number", min: 1, value: 1 })),
			field("Memory", el("input", { name: "memory", value: "512M" })),
			field("Added to the guest's command line", el("input", { name: "cmdline", autocomplete: "off" }), true),
			el("label", { class: "wide" }, el("input", { name: "read_only", type: "checkbox" }), " only read the image")),
		el("div", { class: "end" }, said,
			el("button", { type: "button", onclick: () => byId("create").close() }, "Cancel"), go));
	form.addEventListener("submit", async (event) => {
		event.preventDefault();
		const told = Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
		if (told.read_only) told.read_only = true;
		go.disabled = true;
		said.textContent = "";
		try {
			const made = await verb("vm_create", told);
			byId("create").close();
			toast(`VM ${made.id} (${made.name}) runs`);
			done(made);
		} catch (error) {
			said.textContent = error.message;
		} finally {
			go.disabled = false;
		}
	});
	ready(byId("create"), form);
}
