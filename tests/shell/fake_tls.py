#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for hg-tls: its command line and its words, and no TLS at all."""

import argparse
import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("--listen", "--connect", "--certificate", "--key"):
        parser.add_argument(name, required=True)
    parser.add_argument("--make", action="append", default=[])
    return parser.parse_args()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main(args: argparse.Namespace) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(args.connect)
        await asyncio.gather(copy(reader, back), copy(there, writer))

    address, _, port = args.listen.rpartition(":")
    server = await asyncio.start_server(relay, address or "127.0.0.1", int(port))
    Path(args.certificate).with_name("asked").write_text(json.dumps(vars(args)))
    at = server.sockets[0].getsockname()
    print_ = ":".join(["AB"] * 32)
    sys.stdout.write(f"listening on {at[0]}:{at[1]}, certificate SHA-256 {print_}\n")
    sys.stdout.flush()
    await server.serve_forever()


if reason := os.environ.get("FAKE_TLS_FAIL"):
    sys.exit(f"hg-tls: {reason}")
asyncio.run(main(arguments()))
