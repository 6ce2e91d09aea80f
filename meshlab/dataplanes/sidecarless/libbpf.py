"""The bpf(2) calls that the plane needs, by libbpf through ctypes: links, pins, maps, types. Errors are OSError."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from meshlab.errors import CannotRun

_MEMBARRIER_GLOBAL = 1
_MEMBARRIER = {"x86_64": 324, "aarch64": 283}
_STRUCT_KIND, _UNION_KIND = 4, 5
Info = TypeVar("Info", bound=ctypes.Structure | ctypes.Array[Any])


@functools.cache
def library() -> ctypes.CDLL:
    """libbpf itself. CannotRun where it is not installed."""
    for name in ("libbpf.so.1", "libbpf.so.0"):
        try:
            return ctypes.CDLL(name, use_errno=True)
        except OSError:
            continue
    raise CannotRun("libbpf is not installed", hint="apt-get install libbpf1 (python3-bpfcc brings it)")


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno() or -result
        raise OSError(number, f"{os.strerror(number)} ({what})")
    return result


def link_create(program: int, target: int, attach_type: int) -> int:
    """Attach by a link; it lasts as long as its descriptor or a pin of it."""
    return _checked(library().bpf_link_create(program, target, attach_type, None), f"attach type {attach_type}")


def link_update(link: int, program: int) -> None:
    """Put another program in the place of a link's, without a gap."""
    _checked(library().bpf_link_update(link, program, None), "link update")


def link_detach(link: int) -> None:
    """Take a link's program from where it is attached, whoever still holds the link."""
    _checked(library().bpf_link_detach(link), "link detach")


def pin(descriptor: int, path: Path) -> None:
    _checked(library().bpf_obj_pin(descriptor, os.fsencode(path)), f"pin {path}")


def open_pin(path: Path) -> int:
    """A descriptor of what is pinned there. FileNotFoundError where nothing is."""
    return _checked(library().bpf_obj_get(os.fsencode(path)), f"open {path}")


def _told(descriptor: int, info: Info) -> Info:
    """What the kernel tells of a map, a program or a link, as far as there is room for it."""
    size = ctypes.c_uint32(ctypes.sizeof(info))
    _checked(library().bpf_obj_get_info_by_fd(descriptor, ctypes.byref(info), ctypes.byref(size)), "info")
    return info


class _MapInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    )


def map_info(descriptor: int) -> _MapInfo:
    """Type, sizes and name of a map, as the kernel has them."""
    return _told(descriptor, _MapInfo())


def map_lookup(descriptor: int, key: Any, value: Any) -> bool:
    """Fill `value`; False if the key is not there."""
    result = library().bpf_map_lookup_elem(descriptor, ctypes.byref(key), ctypes.byref(value))
    if result < 0 and ctypes.get_errno() == errno.ENOENT:
        return False
    _checked(result, "map lookup")
    return True


def map_update(descriptor: int, key: Any, value: Any) -> None:
    """Insert or replace one element as a whole. OSError E2BIG where the map is full."""
    _checked(library().bpf_map_update_elem(descriptor, ctypes.byref(key), ctypes.byref(value), 0), "map update")


def map_delete(descriptor: int, key: Any) -> bool:
    """False if the key was not there."""
    result = library().bpf_map_delete_elem(descriptor, ctypes.byref(key))
    if result < 0 and ctypes.get_errno() == errno.ENOENT:
        return False
    _checked(result, "map delete")
    return True


def map_batch(descriptor: int, keys: Any, values: Any, count: int) -> int:
    """Read a whole hash into arrays that have room for `count` elements; how many there were.
    OSError ENOSPC where the room is too small for one bucket."""
    start, found = ctypes.c_uint64(0), ctypes.c_uint32(count)
    result = library().bpf_map_lookup_batch(
        descriptor, None, ctypes.byref(start), keys, values, ctypes.byref(found), None
    )
    if result < 0 and ctypes.get_errno() != errno.ENOENT:  # ENOENT: the normal end
        _checked(result, "map batch")
    return found.value


def supports(kind: str, number: int) -> bool:
    """Does the kernel know a type of programs ("prog_type") or of maps ("map_type")? OSError where it does not say."""
    return bool(_checked(getattr(library(), f"libbpf_probe_bpf_{kind}")(number, None), f"probe of {kind}"))


def possible_cpus() -> int:
    """The kernel gives a value for every CPU that could be plugged in."""
    return _checked(library().libbpf_num_possible_cpus(), "possible CPUs")


def wait_for_programs() -> None:
    """Return when every program that was running has ended: membarrier(2) waits for a grace period of RCU, under which
    programs run."""
    number = _MEMBARRIER.get(os.uname().machine)
    if number is None:
        raise CannotRun(f"no membarrier known on {os.uname().machine}", hint="run on x86_64 or aarch64")
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.syscall(number, _MEMBARRIER_GLOBAL, 0, 0), "membarrier")


class _Type(ctypes.Structure):
    _fields_ = (("name_offset", ctypes.c_uint32), ("info", ctypes.c_uint32), ("size", ctypes.c_uint32))


class _Member(ctypes.Structure):
    _fields_ = (("name_offset", ctypes.c_uint32), ("type", ctypes.c_uint32), ("offset", ctypes.c_uint32))


def kernel_offsets(structure: str, fields: tuple[str, ...]) -> dict[str, int]:
    """Byte offsets of fields of a kernel structure, from the running kernel's own types (BTF).
    CannotRun where the kernel has no types or not these fields."""
    lib = library()
    for name in ("btf__load_vmlinux_btf", "btf__type_by_id", "btf__name_by_offset"):
        getattr(lib, name).restype = ctypes.c_char_p if "name" in name else ctypes.c_void_p
    lib.btf__free.argtypes = [ctypes.c_void_p]
    btf = ctypes.c_void_p(lib.btf__load_vmlinux_btf())
    if not btf.value or btf.value > (1 << 64) - 4096:
        raise CannotRun(
            "the kernel does not tell its types (/sys/kernel/btf/vmlinux)", hint="a kernel with CONFIG_DEBUG_INFO_BTF"
        )
    try:
        found = _offsets(lib, btf, structure, fields)
    finally:
        lib.btf__free(btf)
    if missing := sorted(set(fields) - set(found)):
        raise CannotRun(f"struct {structure} of this kernel has no {', '.join(missing)}", hint="meshlab doctor")
    return found


def _offsets(lib: ctypes.CDLL, btf: ctypes.c_void_p, structure: str, fields: tuple[str, ...]) -> dict[str, int]:
    number = lib.btf__find_by_name_kind(btf, structure.encode(), _STRUCT_KIND)
    return {name: at for name, at in _members(lib, btf, number, 0) if name in fields} if number > 0 else {}


def _members(lib: ctypes.CDLL, btf: ctypes.c_void_p, number: int, base: int) -> Iterator[tuple[str, int]]:
    """Name and offset of each field, those of unnamed structures and unions inside too."""
    address = lib.btf__type_by_id(btf, number)
    described = _Type.from_address(address)
    if described.info >> 24 & 0x1F not in (_STRUCT_KIND, _UNION_KIND):
        return
    for member in (_Member * (described.info & 0xFFFF)).from_address(address + ctypes.sizeof(_Type)):
        name = (lib.btf__name_by_offset(btf, member.name_offset) or b"").decode()
        at = base + (member.offset & 0xFFFFFF) // 8
        if name:
            yield name, at
        else:
            yield from _members(lib, btf, member.type, at)


class _LinkInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("program", ctypes.c_uint32),
        ("cgroup", ctypes.c_uint64),
        ("rest", ctypes.c_uint8 * 64),
    )


_LINK_CGROUP, _LINK_NETNS, _LINK_TCX = 3, 5, 11


def link_target(link: int) -> int:
    """The inode of the cgroup or network namespace, or the number of the interface, that a link is attached to; 0 for
    other kinds of links, and where an interface is gone."""
    info = _told(link, _LinkInfo())
    if info.type == _LINK_CGROUP:
        return int(info.cgroup)
    return int(info.cgroup & 0xFFFFFFFF) if info.type in (_LINK_NETNS, _LINK_TCX) else 0


def object_id(descriptor: int) -> int:
    """The kernel's number of a map or a program."""
    return int(_told(descriptor, (ctypes.c_uint32 * 64)())[1])


def exists(kind: str, number: int) -> bool:
    """Is there still a "map" or "prog" of this number?"""
    descriptor = getattr(library(), f"bpf_{kind}_get_fd_by_id")(number)
    if descriptor < 0:
        return False
    os.close(descriptor)
    return True
