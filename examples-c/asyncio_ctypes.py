#!/usr/bin/env python3
"""asyncio_ctypes.py COMMAND [ARGUMENT...]: children in an asyncio loop, by the descriptor."""

import asyncio
import ctypes
import os
import signal
import sys

lib = ctypes.CDLL("libsss_sigchld.so.0")
LOST = -1  # SSS_WAIT_STATUS_LOST: other code, or an ignored SIGCHLD, took the status
CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)


class CtxParams(ctypes.Structure):  # struct sss_ctx_params
    _fields_ = [("size", ctypes.c_size_t), ("mask", ctypes.c_uint32), ("options", ctypes.c_int32),
                ("scope", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("host", ctypes.c_void_p),
                ("memctx", ctypes.c_void_p), ("loop", ctypes.c_void_p),
                ("unknown_fn", ctypes.c_void_p), ("unknown_pvt", ctypes.c_void_p)]


def check(code):
    if code:
        raise OSError(code, os.strerror(code))


class Children:
    """A context on the running loop."""

    def __init__(self):
        params = CtxParams(size=ctypes.sizeof(CtxParams))
        self.ctx = ctypes.c_void_p()
        self.waiting = {}
        self.callback = CALLBACK(self.ended)  # kept: C holds no reference
        check(lib.sss_sigchld_ctx_create(ctypes.byref(params), ctypes.byref(self.ctx)))
        fd = ctypes.c_int()
        check(lib.sss_sigchld_ctx_fd(self.ctx, ctypes.byref(fd)))
        asyncio.get_running_loop().add_reader(
            fd.value, lambda: check(lib.sss_sigchld_ctx_dispatch(self.ctx, ctypes.c_uint32(0))))

    def ended(self, pid, wait_status, _pvt):
        code = None if wait_status == LOST else os.waitstatus_to_exitcode(wait_status)
        self.waiting.pop(pid).set_result(code)

    def wait(self, pid):
        """A future of the exit code, or None, of a child that somebody started."""
        self.waiting[pid] = asyncio.get_running_loop().create_future()
        check(lib.sss_child_register(None, self.ctx, pid, self.callback, None, None))
        return self.waiting[pid]


async def main():
    children = Children()
    pids = [os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ) for _ in range(3)]
    print("exit codes:", await asyncio.gather(*map(children.wait, pids)))


signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # our parent may have ignored it
asyncio.run(main())
