#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Meson's install script for the private libraries, links kept as links: install_private.sh FROM DIR_BELOW_PREFIX
set -eu

to=$MESON_INSTALL_DESTDIR_PREFIX/$2
mkdir -p "$to"
for file in "$1"/*.so*; do
    cp -P "$file" "$to/"
done
