#!/usr/bin/env bash
# format.sh: every C, header and device file of the project is as clang-format writes it. usage: format.sh SOURCE_DIR
set -eu
cd "$1"
files=$(git ls-files '*.c' '*.h' '*.cu')
# version 14 is what Debian 12 has; another version formats differently
clang-format-14 --dry-run -Werror $files
echo "$(echo "$files" | wc -l) files are well formatted"
