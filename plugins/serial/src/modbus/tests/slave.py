"""A Modbus RTU device made of pymodbus's own serial server, whatever its version from 3.0 on. Says the path of a pty at
whose other end it is, then serves until its input ends. The holding registers may be given as JSON: {"8192": 0}."""
import asyncio
import json
import os
import sys
import threading
import tty
import types

# Two pty pairs, joined in the middle: the tests open one end by its path, and the server the other.
near, near_path = os.openpty()
far, far_path = os.openpty()
for end in (near, near_path, far, far_path):
    tty.setraw(end)


class Line(asyncio.Transport):
    def __init__(self, line):
        super().__init__()
        self.line = line

    def write(self, data):
        os.write(self.line, data)


async def create_serial_connection(loop, factory, path, *_args, **_kwargs):
    """What pymodbus 3.0 wants of serial_asyncio, which Debian does not have."""
    line = os.open(path, os.O_RDWR | os.O_NOCTTY)
    transport, protocol = Line(line), factory()
    protocol.connection_made(transport)
    loop.add_reader(line, lambda: protocol.data_received(os.read(line, 512)))
    return transport, protocol


try:
    import serial_asyncio
except ImportError:
    sys.modules["serial_asyncio"] = types.SimpleNamespace(create_serial_connection=create_serial_connection)

import pymodbus.datastore as datastore
from pymodbus.server import StartAsyncSerialServer

# Names changed: a slave became a device, and the framer a word.
device = getattr(datastore, "ModbusDeviceContext", None) or datastore.ModbusSlaveContext
devices = "devices" if hasattr(datastore, "ModbusDeviceContext") else "slaves"
try:
    from pymodbus.framer import FramerType

    framer = FramerType.RTU
except ImportError:
    from pymodbus.transaction import ModbusRtuFramer as framer


def block(values):
    # Its addresses begin at 1 where those of the wire begin at 0.
    return datastore.ModbusSequentialDataBlock(1, values)


def holding():
    if len(sys.argv) < 2:
        return block([0] * 256)
    given = json.loads(sys.argv[1])
    return datastore.ModbusSparseDataBlock({int(address) + 1: value for address, value in given.items()})


def unit():
    return device(
        co=block([False] * 64),
        di=block([index % 3 == 0 for index in range(64)]),
        hr=holding(),
        ir=block([0x1122, 0x3344, 0x5566, 0x7788, 0xFFFE, 1234, 0x41AC, 0x0000] + list(range(100, 200))),
    )


async def serve():
    loop = asyncio.get_running_loop()
    loop.add_reader(near, lambda: os.write(far, os.read(near, 512)))
    loop.add_reader(far, lambda: os.write(near, os.read(far, 512)))
    options = {"broadcast_enable": True, f"ignore_missing_{devices}": True}
    context = datastore.ModbusServerContext(**{devices: {number: unit() for number in (1, 3, 4)}}, single=False)
    server = StartAsyncSerialServer(context=context, framer=framer, port=os.ttyname(far_path), baudrate=9600, **options)
    running = asyncio.ensure_future(server)
    await asyncio.sleep(0.1)
    print(os.ttyname(near_path), flush=True)
    await running
    await asyncio.Event().wait()


# With the test, however that ends.
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
asyncio.run(serve())
