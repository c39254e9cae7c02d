#!/usr/bin/python3
"""A gate, as a plugin of nowd: a service on D-Bus whose methods can be called from far away, through the gateway.

The gateway asks `Describe` for the methods, then sends an `Invoke` for each call. What a plugin owes:

1. Never late. At `not_after_us` nobody wants this any more. Compare it with the clock directly before you move
   something: a process can be frozen for seconds between two lines.
2. Honest. "executed" is what you know has happened, "not_executed" what you know has not, so that callers may try it
   again. In doubt it is "unknown".
3. Answer when the hardware is free for the next call. `Cancel` says that nobody waits any more: stop, then answer.

For your hardware, replace `Motor`, DESCRIPTION, and the methods open, halt and position of `Gate`. Environment: NOWD_BUS
is "system" (the default), "session" or an address; GATE_TRAVEL_MS how long it moves; GATE_RECORD a file for tests.
"""

import asyncio
import json
import os
import sys
import time
from signal import SIGTERM

from dbus_fast import BusType, DBusError, MessageFlag, NameFlag, RequestNameReply, constants
from dbus_fast.aio import MessageBus
from dbus_fast.service import ServiceInterface, method, signal

# For Debian 12: dbus-fast 1.84 ends at a message with two flags, such as Cancel (its issue 239).
getattr(constants, "MESSAGE_FLAG_MAP", {}).setdefault(3, MessageFlag(3))

NAME, PATH = "com.example.Gate", "/com/example/Gate"
DESCRIPTION = {
    # One call at a time, and none waits behind it: it would start to move when somebody has just halted the gate.
    "lane": {"name": "motor", "concurrency": 1, "depth": 0},
    "methods": {
        "gate.open": {
            "description": "Moves the gate to so many percent open, and answers when it is there",
            "params": {"percent": {"type": "integer", "minimum": 0, "maximum": 100}},
            "on_timeout": "gate.halt",  # what the gateway calls when the time is over and the gate not there
        },
        "gate.halt": {
            "description": "Stops the gate where it is",
            "stop": True, "idempotent": True,  # twice is as good as once
            "lane": {"name": "halt"},  # else it would wait for the call that it is to halt
        },
        "gate.position": {
            "description": "How far the gate is open, in percent",
            "idempotent": True, "lane": {"name": "position", "concurrency": 4},
        },
    },
}


class Motor:
    """The hardware: here only arithmetic. Once started it runs by itself, as a real one does."""

    travel = float(os.environ.get("GATE_TRAVEL_MS", "200")) / 1000
    origin = target = started = 0

    def start(self, target):
        self.origin, self.target, self.started = self.position(), target, time.monotonic()

    def stop(self):
        self.origin = self.target = self.position()

    def position(self):
        share = min((time.monotonic() - self.started) / self.travel, 1) if self.travel else 1
        return round(self.origin + (self.target - self.origin) * share)


class NotDone(Exception):
    """Ends a call that did not end well: two words of the contract, a code for programs, a sentence for people."""

    def __init__(self, status, outcome, code, message):
        self.answer = [status, outcome, json.dumps({"code": code, "message": message})]


class Call:
    def __init__(self, call_id, not_after_us):
        self.id, self.not_after_us = call_id, not_after_us
        self.ended_by = None  # "cancel" or "halt", where something ends it early

    def check_time(self):  # belongs directly before whatever acts
        if boottime_us() >= self.not_after_us:
            raise NotDone("expired", "not_executed", "expired", "the deadline passed before anything was done")

    def record(self, what):  # belongs directly after what acts: tests compare the instants
        if path := os.environ.get("GATE_RECORD"):
            with open(path, "a", encoding="utf-8") as file:
                file.write(f"{boottime_us()} {self.id} {self.not_after_us} {what}\n")


def boottime_us():  # the clock of `not_after_us`: it goes on while the machine sleeps, and nobody can set it
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


class Gate(ServiceInterface):
    """The interface as D-Bus sees it. The annotations are D-Bus types: "s" a text, "t" a number of 64 bits."""

    def __init__(self):
        super().__init__("io.nowd.Plugin1")
        self.motor, self.moving = Motor(), None  # and the gate.open that runs
        self.calls = {}  # those without an answer, by id

    @method()
    def Describe(self) -> "s":
        return json.dumps(DESCRIPTION)

    @method()
    def Health(self) -> "ss":
        return ["ok", ""]  # or "degraded" or "failed", and why

    @signal()
    def Changed(self):
        pass  # to be called when description or health have changed

    @method()
    async def Invoke(self, id: "s", method: "s", request_json: "s", not_after_us: "t") -> "sss":
        methods = {"gate.open": self.open, "gate.halt": self.halt, "gate.position": self.position}
        call = self.calls[id] = Call(id, not_after_us)
        try:
            if method not in methods:
                raise NotDone("unavailable", "not_executed", "no_method", f"the gate has no method {method!r}")
            return ["ok", "executed", json.dumps(await methods[method](call, **parse(method, request_json)))]
        except NotDone as e:
            return e.answer
        finally:
            self.calls.pop(id, None)

    @method()
    async def Cancel(self, id: "s"):  # async, because a plain method would overtake an Invoke that came before it
        if call := self.calls.get(id):
            call.ended_by = "cancel"

    async def open(self, call, percent):
        if type(percent) is not int or not 0 <= percent <= 100:
            raise NotDone("invalid_request", "not_executed", "bad_params", "percent must be an integer from 0 to 100")
        if self.moving:  # the lane prevents it, except from a gateway that was started anew meanwhile
            raise NotDone("refused", "not_executed", "moving", "the gate is moving for another call")
        self.moving = call
        try:
            call.check_time()
            self.motor.start(percent)
            call.record(f"open {percent}")
            while self.motor.position() != percent and not call.ended_by:
                await asyncio.sleep(0.005)  # never `time.sleep`: Cancel and other calls come meanwhile
        finally:
            self.motor.stop()
            self.moving = None
        if (position := self.motor.position()) == percent:
            return {"position": position}
        if call.ended_by == "halt":
            raise NotDone("failed", "unknown", "halted", f"the gate was halted at {position} percent")
        raise NotDone("timeout", "unknown", "cancelled", f"nobody waited any more: stopped at {position} percent")

    async def halt(self, call):
        call.check_time()
        self.motor.stop()
        call.record("halt")
        if self.moving:
            self.moving.ended_by = "halt"
        return {"position": self.motor.position()}

    async def position(self, call):
        call.check_time()  # a late answer is of no use either
        return {"position": self.motor.position()}


def parse(method, request_json):
    """The parameters. The gateway has checked them already; a plugin does not rely on it."""
    names = DESCRIPTION["methods"][method].get("params", {}).keys()
    try:
        params = json.loads(request_json) if request_json != "null" else {}
    except ValueError as e:
        raise NotDone("invalid_request", "not_executed", "bad_params", f"the request is no JSON: {e}")
    if not isinstance(params, dict) or params.keys() != names:
        raise NotDone("invalid_request", "not_executed", "bad_params", f"{method} takes {[*names]}, and nothing else")
    return params


async def main():
    where = os.environ.get("NOWD_BUS", "system")
    kind = BusType.SESSION if where == "session" else BusType.SYSTEM
    bus = await MessageBus(where if ":" in where else None, kind).connect()
    gate = Gate()
    bus.export(PATH, gate)  # before the name is taken: who sees the name may call at once
    try:
        if await bus.request_name(NAME, NameFlag.DO_NOT_QUEUE) != RequestNameReply.PRIMARY_OWNER:
            return f"gate: another process has the name {NAME} already: stop it (`busctl status {NAME}` says which it is)"
    except DBusError as e:
        if e.type != "org.freedesktop.DBus.Error.AccessDenied":
            raise
        return (f"gate: the bus does not allow this user to own the name {NAME}: run as the user that "
                f"/etc/dbus-1/system.d/{NAME}.conf names, and let the bus read that file (`systemctl reload dbus`)")
    asyncio.get_running_loop().add_signal_handler(SIGTERM, bus.disconnect)
    try:
        await bus.wait_for_disconnect()
    finally:
        gate.motor.stop()  # nobody could halt it any more


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except (OSError, EOFError, DBusError) as e:
        sys.exit(f"gate: there is no bus at NOWD_BUS={os.environ.get('NOWD_BUS', 'system')}, or no more: {e!r}")  # status 1: systemd starts it again
