"""What attacks have in common. `TRY` is code for the sandbox: `attempt(f)` is what f returns, or the error's name."""

__all__ = ["TRY"]

TRY = """
import ctypes, errno, os, socket

def attempt(f):
    try:
        return f()
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)
    except Exception as error:
        return type(error).__name__

def call(number, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    returned = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return errno.errorcode[ctypes.get_errno()] if returned < 0 else returned
"""
