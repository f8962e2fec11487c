#!/bin/sh
# Unpacks the corpus of a fuzz target, or packs it again: tests/fuzz/corpus.sh unpack|pack TARGET
set -eu
cd "$(dirname "$0")/corpus"
case "${1-}" in
    unpack)
        mkdir -p "$2"
        tar -xzf "$2.tar.gz" -C "$2"
        ;;
    pack)
        # Equal files make equal archives.
        tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$2" -cf - . | gzip -9n >"$2.tar.gz.new"
        mv "$2.tar.gz.new" "$2.tar.gz"
        ;;
    *)
        sed -n 2s/..//p "../corpus.sh" >&2
        exit 2
        ;;
esac
