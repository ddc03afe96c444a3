// SPDX-License-Identifier: Apache-2.0
// Elements, figures for people, messages. Text is only ever set as text.

/** An element: `el("b", { class: "x", onclick: f }, "text", child)`. */
export function el(tag, told = {}, ...children) {
	const made = document.createElement(tag);
	for (const [key, value] of Object.entries(told)) {
		if (value === false || value === undefined || value === null) continue;
		if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
		else made.setAttribute(key, value === true ? "" : value);
	}
	made.append(...children.filter((child) => child !== null && child !== undefined));
	return made;
}

export const byId = (id) => document.getElementById(id);

/** Set text only where it changes: a screen reader would speak it again. */
export function say(element, text) {
	if (element.textContent !== text) element.textContent = text;
}

/** `512 MiB`, as the shell writes it. */
export function size(bytes) {
	let value = bytes;
	let unit = "B";
	for (const larger of ["KiB", "MiB", "GiB", "TiB"]) {
		if (value < 1000) break;
		value /= 1024;
		unit = larger;
	}
	return `${value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(1)} ${unit}`;
}

export const rate = (bytes) => (bytes ? `${size(bytes)}/s` : "–");

/** `3m 07s`, as the shell writes it. */
export function duration(seconds) {
	const total = Math.max(Math.floor(seconds), 0);
	const two = (number) => String(number).padStart(2, "0");
	if (total < 60) return `${total}s`;
	if (total < 3600) return `${Math.floor(total / 60)}m ${two(total % 60)}s`;
	if (total < 86400) return `${Math.floor(total / 3600)}h ${two(Math.floor((total % 3600) / 60))}m`;
	return `${Math.floor(total / 86400)}d ${two(Math.floor((total % 86400) / 3600))}h`;
}

/** A message that goes by itself; one that tells of a failure stays longer. */
export function toast(text, bad = false) {
	const made = el("div", { class: bad ? "toast bad" : "toast" }, text);
	byId("toasts").append(made);
	setTimeout(() => made.remove(), bad ? 12000 : 5000);
}
