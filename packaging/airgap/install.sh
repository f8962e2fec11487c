#!/bin/sh
# Installs entityd from this folder, without a network. README tells the commands.
set -eu
cd "$(dirname "$0")"

stop() {
    echo "install.sh: $*" >&2
    exit 1
}

has() {
    command -v "$1" >/dev/null 2>&1
}

check() {
    sha256sum --check --quiet --strict SHA256SUMS || stop "the bundle is damaged: copy it again"
}

case "$(uname -m)" in
    x86_64) ;;
    aarch64) ;;
    *) stop "this is a $(uname -m) machine; the bundle is for x86_64 or aarch64" ;;
esac
archive=$(ls entityd-*-"$(uname -m)"-linux.tar.gz 2>/dev/null) || stop "the bundle is for another processor than this machine's $(uname -m)"
image=$(ls entityd-*-image-*.tar 2>/dev/null) || stop "the bundle has no image: copy it again"
chart=$(ls entityd-chart-*.tgz 2>/dev/null) || stop "the bundle has no chart: copy it again"

case "${1-}" in
    "")
        check
        echo "The files are complete. You can install:"
        echo "  ./install.sh binary"
        if has dpkg || has rpm; then echo "  ./install.sh package"; fi
        for tool in docker podman ctr; do
            if has "$tool"; then
                echo "  ./install.sh image"
                break
            fi
        done
        if has helm; then echo "  ./install.sh chart"; fi
        ;;
    binary)
        check
        [ $# -le 2 ] || stop "binary: one folder, not $(($# - 1))"
        folder=${2-/usr/local/bin}
        mkdir -p -- "$folder" || stop "binary: cannot make the folder $folder"
        [ ! -d "$folder/entityd" ] || stop "binary: $folder/entityd is a folder; name another one"
        # A running binary cannot be written to, but it can be replaced.
        new=$folder/.entityd.new
        trap 'rm -f -- "$new"' EXIT
        trap 'exit 130' INT TERM
        { tar -xzOf "$archive" "${archive%.tar.gz}/entityd" >"$new" && chmod 755 "$new" && mv -- "$new" "$folder/entityd"; } ||
            stop "binary: cannot write to $folder"
        "$folder/entityd" --version
        ;;
    package)
        check
        [ "$(id -u)" = 0 ] || stop "package: run it as root"
        if has dpkg; then
            dpkg -i entityd_*.deb
        elif has rpm; then
            rpm -U --replacepkgs entityd-*.rpm
        else
            stop "package: neither dpkg nor rpm is here; use: ./install.sh binary"
        fi
        ;;
    image)
        check
        [ $# -le 2 ] || stop "image: one registry, not $(($# - 1))"
        if [ -n "${2-}" ]; then
            has skopeo || stop "image: skopeo, which copies images to a registry, is not here"
            name=${archive#entityd-}
            skopeo copy "oci-archive:$image" "docker://${2%/}/entityd:${name%-"$(uname -m)"-linux.tar.gz}"
        elif has docker; then
            docker load --input "$image"
        elif has podman; then
            podman load --input "$image"
        elif has ctr; then
            ctr --namespace k8s.io images import "$image"
        else
            stop "image: none of docker, podman and ctr is here"
        fi
        ;;
    chart)
        check
        has helm || stop "chart: helm is not here"
        shift
        helm upgrade --install entityd "$chart" "$@"
        ;;
    *) stop "unknown command $1; README lists all" ;;
esac
