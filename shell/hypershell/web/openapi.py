# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document (3.1.0) of the verbs, made of what they declare."""

from __future__ import annotations

from hypershell import __version__, commands
from hypershell.commands import COMMANDS, GROUPS
from hypershell.schema import SCHEMAS, schema
from hypershell.spec import Arg, Spec
from hypershell.web import api

_ERROR = {
    "type": "object",
    "properties": {
        "error": {"type": "string", "description": "what is wrong, and what to do"},
        "output": {"type": "string", "description": "what was done before that"},
    },
    "required": ["error"],
}
_STATUS = {
    400: "wrong usage: a bad argument, an unknown VM, a file that is not what it should be",
    401: "neither token nor session",
    403: "a session's request that came from another site",
    405: "verbs are sent by POST",
    408: "the request did not come to its end in time",
    411: "a body without Content-Length",
    413: "too many arguments",
    415: "arguments come as application/json",
    421: "the host is not called what Host says",
    500: "the verb has failed",
    503: "too much at once; try again",
}

_ABOUT = """The verbs of the hyper-gen shell. What each does and takes is what `help VERB` tells
in the shell, and what it answers is what `VERB --json` prints there; verbs without `--json` answer
with their words. Besides, WebSockets: `/api/v1/live` (figures, every two seconds) and
`/api/v1/console/VM?mode=steal|look`."""


def _text_schema(arg: Arg) -> dict[str, object]:
    if arg.only:
        return {"type": "string", "enum": list(arg.values)}
    # An id is a number, and whoever writes one without quotes is right.
    text = {
        "type": "string",
        "maxLength": api.TEXT_LIMIT,
        "pattern": "^[^\\u0000\\ud800-\\udfff]*$",
    }
    return {"anyOf": [text, {"type": "integer", "minimum": 0, "maximum": api.NUMBER_LIMIT}]}


def _argument(arg: Arg) -> dict[str, object]:
    told: dict[str, object]
    if arg.flag:
        told = {"type": "boolean", "default": False}
    elif arg.many in ("+", "*", "..."):
        told = {"type": "array", "items": _text_schema(arg), "maxItems": api.LIST_LIMIT}
        if arg.many == "+":
            told["minItems"] = 1
    else:
        told = _text_schema(arg)
        if arg.default:
            told["default"] = arg.default
    return told | {"description": arg.text}


def _body(spec: Spec) -> dict[str, object]:
    taken = api.arguments(spec)
    needed = [api.key(a) for a in taken if not a.option and a.many in ("", "+")]
    told: dict[str, object] = {
        "type": "object",
        "properties": {api.key(arg): _argument(arg) for arg in taken},
        "additionalProperties": False,
    }
    if needed:
        told["required"] = needed
    return {"required": bool(needed), "content": {"application/json": {"schema": told}}}


def _answer(name: str) -> dict[str, object]:
    if name not in SCHEMAS:
        words = {"type": "string", "description": "what the verb says"}
        told: dict[str, object] = {
            "type": "object",
            "properties": {"output": words},
            "required": ["output"],
        }
    else:
        told = {k: v for k, v in schema(name).items() if k not in ("$schema", "title")}
    kind = "application/x-ndjson" if api.streams(name) else "application/json"
    return {"description": "done", "content": {kind: {"schema": told}}}


def _operation(name: str, group: str) -> dict[str, object]:
    spec = commands.load(name)
    errors = {
        str(status): {
            "description": text,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
        for status, text in _STATUS.items()
    }
    return {
        "operationId": name,
        "tags": [group],
        "summary": COMMANDS[name][1],
        "description": spec.about,
        "requestBody": _body(spec),
        "responses": {"200": _answer(name), **errors},
    }


def document() -> dict[str, object]:
    """The whole document."""
    paths = {
        f"/api/v1/{name}": {"post": _operation(name, group)}
        for group, members in GROUPS.items()
        for name in members
        if name not in api.LEFT_OUT
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "hyper-gen", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"session": []}],
        "tags": [{"name": group} for group in GROUPS if group not in ("shell", "words")],
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-hypergen"},
            },
        },
    }
