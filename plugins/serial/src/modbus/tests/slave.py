"""A Modbus RTU device made of pymodbus's own serial server, on the far end of a new pty pair. Says the path of the near
end, then serves until its input ends."""
import asyncio
import os
import sys
import threading
import tty
import types

master, slave = os.openpty()
tty.setraw(master)
tty.setraw(slave)


class Line(asyncio.Transport):
    """What serial_asyncio would open by its path; the far end of a pty has none."""

    def get_extra_info(self, name, default=None):
        return default

    def write(self, data):
        os.write(master, data)

    def close(self):
        pass


async def create_serial_connection(loop, factory, *_args, **_kwargs):
    line, protocol = Line(), factory()
    protocol.connection_made(line)
    loop.add_reader(master, lambda: protocol.data_received(os.read(master, 512)))
    return line, protocol


sys.modules["serial_asyncio"] = types.SimpleNamespace(create_serial_connection=create_serial_connection)

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.server.async_io import ModbusSerialServer
from pymodbus.transaction import ModbusRtuFramer


async def serve():
    def block(values):
        return ModbusSequentialDataBlock(0, values)

    def unit():
        return ModbusSlaveContext(
            co=block([False] * 64),
            di=block([index % 3 == 0 for index in range(64)]),
            hr=block([0] * 256),
            ir=block([0x1122, 0x3344, 0x5566, 0x7788, 0xFFFE, 1234, 0x41AC, 0x0000] + list(range(100, 200))),
            zero_mode=True,
        )

    server = ModbusSerialServer(
        ModbusServerContext(slaves={3: unit(), 4: unit()}, single=False),
        ModbusRtuFramer,
        port="pty",
        broadcast_enable=True,
        ignore_missing_slaves=True,
    )
    await server.start()
    print(os.ttyname(slave), flush=True)
    await asyncio.Event().wait()


# With the test, however that ends.
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
asyncio.run(serve())
