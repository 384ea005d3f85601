#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Writes what is made from the tables of options and commands: manual page, reference pages, sample file, completions.
set -eu
cd "$(dirname "$0")/.."
mkdir -p docs etc/completion
exec build/pacer docs .
