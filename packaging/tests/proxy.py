"""Forwards TCP connections: proxy.py ADDRESS:PORT=ADDRESS:PORT... Several targets of one source take turns."""

import asyncio
import itertools
import sys
from collections import defaultdict


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()


async def main() -> None:
    targets = defaultdict(list)
    for route in sys.argv[1:]:
        source, target = route.split("=")
        targets[source].append(target.rsplit(":", 1))
    for source, ends in targets.items():
        turns = itertools.cycle(ends)

        async def serve(reader, writer, turns=turns) -> None:
            host, port = next(turns)
            try:
                there, back = await asyncio.open_connection(host, int(port))
            except OSError:
                writer.close()
                return
            await asyncio.gather(copy(reader, back), copy(there, writer))
            writer.close()
            back.close()

        host, port = source.rsplit(":", 1)
        await asyncio.start_server(serve, host, int(port))
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
