// SPDX-License-Identifier: Apache-2.0
// The verbs, and the live figures.

export class Failure extends Error {}

/** Run a verb with its arguments; its answer. Throws Failure with one line. */
export async function verb(name, told = {}) {
	let response;
	try {
		response = await fetch(`/api/v1/${name}`, {
			method: "POST",
			headers: { "Content-Type": "application/json" },
			body: JSON.stringify(told),
			credentials: "same-origin",
		});
	} catch {
		throw new Failure("the host does not answer");
	}
	if (response.status === 401) {
		location.assign("/login");
		throw new Failure("logged out");
	}
	const answer = await response.json();
	if (!response.ok) throw new Failure(answer.error);
	return answer;
}

/** A WebSocket of this host. */
export function socket(path) {
	return new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/${path}`);
}

/** Call `seen` with every picture, for ever; `lost` with true when the connection is, with false again. */
export function live(seen, lost) {
	let pause = 500;
	const connect = () => {
		const ws = socket("live");
		ws.onopen = () => { pause = 500; lost(false); };
		ws.onmessage = (event) => {
			const told = JSON.parse(event.data);
			for (const picture of Array.isArray(told) ? told : [told]) seen(picture);
		};
		ws.onclose = async () => {
			lost(true);
			pause = Math.min(pause * 2, 15000);
			setTimeout(connect, pause);
			// A session that has ended refuses a WebSocket without saying why: a verb says it.
			verb("version").catch(() => {});
		};
	};
	connect();
}
