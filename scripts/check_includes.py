#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the directions of the includes: which room may use which, and which room owns which library.

The table is the one of docs/ARCHITECTURE.md. A file may include headers of its own room, public headers, and those of
the rooms named here; a header ending in _priv.h only within its room; a library's header only in its owners.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

MAY_USE = {
    "base": set(),
    "json": {"base"},
    "data": {"base", "json"},
    "loop": {"base"},
    "cache": {"base", "loop"},
    "config": {"base"},
    "http": {"base", "loop"},
    "onnx": {"base"},
    "infer": {"base", "loop", "onnx"},
    "compare": {"base", "data", "onnx", "infer"},
    "quantize": {"base", "json", "data", "compare", "onnx", "infer"},
    "decide": {"base", "loop", "json", "config", "cache", "infer"},
    "server": {"base", "loop", "json", "config", "http", "cache", "infer", "decide"},
    "cli": {"base", "json", "data", "compare", "config", "cache", "onnx", "infer", "decide", "server"},
}

LIBRARY_OWNERS = {
    "uv.h": {"loop"},
    "llhttp.h": {"http"},
    "zlib.h": {"http", "data"},
    "yyjson.h": {"json"},
    "pcre2.h": {"json"},
    "yaml.h": {"config"},
    "onnxruntime_c_api.h": {"infer"},
    "onnxruntime_session_options_config_keys.h": {"infer"},
    "protobuf-c/protobuf-c.h": {"onnx"},
    "openssl/": {"infer", "cache"},
    "xxhash.h": {"base"},
    "lmdb.h": {"cache"},
    "hiredis/": {"cache"},
}

INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', re.M)


def room_of(header):
    """The room a quoted include names, or None for headers outside the rooms."""
    first = header.split("/")[0]
    return first if "/" in header and first in MAY_USE else None


def faults_of(path):
    room = path.relative_to(ROOT / "src").parts[0]
    if room not in MAY_USE:
        yield f"{path.relative_to(ROOT)}: room '{room}' is not in the table of scripts/check_includes.py"
        return
    for header in INCLUDE.findall(path.read_text()):
        where = f"{path.relative_to(ROOT)}: #include {header}"
        other = room_of(header)
        if other and other != room:
            if other not in MAY_USE[room]:
                yield f"{where}: room {room} may not use room {other}"
            elif header.endswith("_priv.h"):
                yield f"{where}: private to room {other}"
        for library, owners in LIBRARY_OWNERS.items():
            if (header == library or header.startswith(library)) and room not in owners:
                yield f"{where}: only {', '.join(sorted(owners))} may see this library"


def public_faults():
    """Public headers stand alone: they include only each other and the C library."""
    for path in sorted((ROOT / "include").rglob("*.h")):
        for header in INCLUDE.findall(path.read_text()):
            if "/" in header and not header.startswith("pacer/"):
                yield f"{path.relative_to(ROOT)}: #include {header}: public headers include only <pacer/…> and C's"


def main():
    sources = sorted(p for p in (ROOT / "src").rglob("*.[ch]"))
    if not sources:
        sys.exit("check_includes: no sources found")
    faults = [f for path in sources for f in faults_of(path)] + list(public_faults())
    print("\n".join(faults) or f"check_includes: {len(sources)} files, all arrows point the right way")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
