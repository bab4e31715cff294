#!/bin/sh
# Makes the development CA if need be and issues (or, with --rotate, renews) the certificates of the cells named.
set -eu
cd "$(dirname "$0")"
asp_cell=${ASP_CELL:-asp-cell}
verb=issue
[ "${1:-}" = --rotate ] && { verb=rotate; shift; }
[ $# -gt 0 ] || { echo "usage: $0 [--rotate] CELL..." >&2; exit 2; }
[ -e ca.pem ] || "$asp_cell" pki ca --out .
for cell in "$@"; do
    "$asp_cell" pki "$verb" --out . --cell "$cell"
done
