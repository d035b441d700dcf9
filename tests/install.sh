#!/usr/bin/env bash
# install.sh: installs into a temporary prefix, then builds and runs consumer.c against it by pkg-config alone.
# usage: install.sh BUILD_DIR SOURCE_DIR
set -eu
build=$1 source=$2
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
cmake --install "$build" --prefix "$prefix" >/dev/null
pc=$(dirname "$(find "$prefix" -name moegemm.pc)")
# moegemm.pc names the prefix given at configure time; a staged copy is found by overriding it
flags=$(PKG_CONFIG_PATH=$pc pkg-config --define-variable=prefix="$prefix" --cflags --libs --static moegemm)
cc -std=c17 -Wall -Wextra -Werror "$source/tests/consumer.c" -o "$prefix/consumer" $flags
MOEGEMM_CACHE=${MOEGEMM_CACHE-$prefix/cache} "$prefix/consumer"
"$prefix/bin/moegemm" --version
