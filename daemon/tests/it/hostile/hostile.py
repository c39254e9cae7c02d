#!/usr/bin/python3
"""Plugins that break the contract of io.nowd.Plugin1, for tests: what they do may hurt nobody but themselves.

    hostile.py MODE            NOWD_BUS is the address of the bus; the name is com.example.Hostile

Where nothing else is said a plugin describes `hostile.call` and answers it with `ok`. It prints "ready" when it has its name.
"""

import asyncio
import json
import os
import socket
import sys

from dbus_fast import Message, MessageType, NameFlag
from dbus_fast.aio import MessageBus

NAME, PATH, INTERFACE = "com.example.Hostile", "/com/example/Hostile", "io.nowd.Plugin1"
DESCRIPTION = {"methods": {"hostile.call": {"description": "Does nothing", "lane": {"concurrency": 8}}}}
HUGE = 100 * 1024 * 1024

# Each is the answer of a method of the mode `garbage`: signature and body, or the name of a D-Bus error.
GARBAGE = {
    "no_values": ("", []),
    "one_value": ("s", ["ok"]),
    "other_types": ("uib", [7, -1, True]),
    "more_values": ("ssss", ["ok", "executed", "null", "and more"]),
    "nested": ("a(sv)", [[]]),
    "not_json": ("sss", ["ok", "executed", "{oops"]),
    "empty": ("sss", ["", "", ""]),
    "no_such_outcome": ("sss", ["ok", "perhaps", "1"]),
    "contradiction": ("sss", ["ok", "not_executed", "1"]),
    "refused_but_done": ("sss", ["refused", "executed", "{}"]),
    "no_such_status": ("sss", ["splendid", "executed", "1"]),
    "deep": ("sss", ["ok", "executed", "[" * 60_000]),
    "deep_error": ("sss", ["failed", "unknown", '{"code":' * 10_000]),
    "too_long": ("sss", ["ok", "executed", '"' + "x" * 200_000 + '"']),
    "controls": ("sss", ["failed", "unknown", '{"code":"\\u0000\\n\\u001b[31m","message":"\\r\\u0007"}']),
    "number_of_a_thousand_digits": ("sss", ["ok", "executed", "9" * 1000]),
    "error": "com.example.Hostile.Error.No",
    "no_reply": "org.freedesktop.DBus.Error.NoReply",
    "unknown_method": "org.freedesktop.DBus.Error.UnknownMethod",
}


class Hostile:
    def __init__(self, mode, bus):
        self.mode, self.bus = mode, bus
        # Its own, because the library minds the other one. With room for what `Hostile.room` lets through.
        self.fd = os.dup(bus._sock.fileno())
        bus._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.description = DESCRIPTION
        self.descriptions = 0
        if mode == "garbage":
            self.description = {"methods": {f"hostile.{name}": {} for name in GARBAGE}}
        if mode == "many":
            self.description = {"methods": {f"hostile.{i}": {} for i in range(100_000)}}

    def handle(self, message):
        """Answers what is asked of the object, or does not."""
        if message.message_type != MessageType.METHOD_CALL or message.path != PATH:
            return None
        if self.mode == "mute":
            return True
        if message.member == "Describe":
            return self.describe(message)
        if message.member == "Health":
            return Message.new_method_return(message, "ss", ["ok", ""])
        if message.member == "Cancel":
            return Message.new_method_return(message)
        if message.member == "Invoke":
            return self.invoke(message)
        return None

    def describe(self, message):
        text = json.dumps(self.description)
        if self.mode == "restless":
            self.descriptions += 1
            methods = {f"hostile.{self.descriptions}": {}, "hostile.call": {"timeout": f"{1 + self.descriptions % 1000}ms"}}
            text = json.dumps({"methods": methods})
        if self.mode == "huge-description":
            text += " " * HUGE
        if self.mode == "garbage-description":
            text = "[" * 100_000
        return Message.new_method_return(message, "s", [text])

    def invoke(self, message):
        if self.mode == "silent":
            return True
        if self.mode == "garbage":
            answer = GARBAGE[message.body[1].removeprefix("hostile.")]
            if isinstance(answer, str):
                return Message.new_error(message, answer, "x" * 10_000)
            return Message.new_method_return(message, *answer)
        response = '"' + "x" * HUGE + '"' if self.mode == "huge" else "null"
        return Message.new_method_return(message, "sss", ["ok", "executed", response])

    def signal(self, destination=None, member="Changed", **more):
        return self.bus.send(
            Message(
                message_type=MessageType.SIGNAL,
                destination=destination,
                path=PATH,
                interface=INTERFACE,
                member=member,
                **more,
            )
        )

    async def room(self):
        """Waits until the socket takes some more: dbus-fast 1.84 gives a connection up whose socket is full."""
        loop, room = asyncio.get_running_loop(), asyncio.Event()
        loop.add_writer(self.fd, room.set)
        await room.wait()
        loop.remove_writer(self.fd)

    async def names(self):
        reply = await self.bus.call(
            Message(
                destination="org.freedesktop.DBus",
                path="/org/freedesktop/DBus",
                interface="org.freedesktop.DBus",
                member="ListNames",
            )
        )
        return [name for name in reply.body[0] if name not in (self.bus.unique_name, "org.freedesktop.DBus")]

    async def flood(self):
        """As fast as the bus takes them, to everybody and to each name that there is."""
        body = {"signature": "s", "body": ["x" * 1000]}
        while True:
            for destination in [None, None, *await self.names()]:
                await self.room()
                for _ in range(20):
                    self.signal(destination)
                    self.signal(destination, "Flood", **body)
                    if destination:
                        # An answer that nobody asked for.
                        unasked = Message(
                            message_type=MessageType.METHOD_RETURN,
                            destination=destination,
                            reply_serial=1 + self.bus.next_serial() % 1000,
                            **body,
                        )
                        self.bus.send(unasked)

    async def flap(self):
        """Is there and is gone, as fast as the bus follows."""
        while True:
            await self.bus.release_name(NAME)
            await self.bus.request_name(NAME, NameFlag.DO_NOT_QUEUE)

    async def changed(self):
        """Says all the time that something has changed."""
        while True:
            await self.room()
            for _ in range(100):
                self.signal()


async def main(mode):
    bus = await MessageBus(bus_address=os.environ["NOWD_BUS"]).connect()
    hostile = Hostile(mode, bus)
    bus.add_message_handler(hostile.handle)
    await bus.request_name(NAME, NameFlag.DO_NOT_QUEUE)
    print("ready", flush=True)
    works = {"flood": hostile.flood, "flap": hostile.flap, "changed": hostile.changed, "restless": hostile.changed}
    # A mode without a work of its own only answers badly.
    quiet = ["garbage", "garbage-description", "huge", "huge-description", "many", "mute", "silent"]
    if mode not in works and mode not in quiet:
        sys.exit(f"hostile: no mode {mode!r}; there are {', '.join(sorted([*works, *quiet]))}")
    gone = asyncio.ensure_future(bus.wait_for_disconnect())
    work = asyncio.ensure_future(works.get(mode, bus.wait_for_disconnect)())
    await asyncio.wait([gone, work], return_when=asyncio.FIRST_COMPLETED)
    # It is a plague: thrown off the bus, it comes back.
    for task in (gone, work):
        if task.done():
            print(f"thrown off the bus: {task.exception()!r}", flush=True)
        task.cancel()
    asyncio.get_running_loop().remove_writer(hostile.fd)
    os.close(hostile.fd)


async def for_ever(mode):
    while True:
        try:
            await main(mode)
        except (OSError, EOFError) as e:
            print(f"no bus: {e!r}", flush=True)
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(for_ever(sys.argv[1]))
