#!/usr/bin/env bash
# Installs what the throwaway cluster and the page tests need on Debian and its relatives. Exits 0 where it may not.
set -euo pipefail

packages=(slurm-wlm munge iproute2 shellcheck procps gcc libc6-dev chromium)
programs=(slurmctld slurmd sbatch munged ip shellcheck vmstat cc chromium)

missing=()
# Daemons live in sbin, which an ordinary user's PATH may lack.
PATH=$PATH:/usr/sbin:/sbin
for program in "${programs[@]}"; do
    command -v "$program" >/dev/null || missing+=("$program")
done
if ((${#missing[@]} == 0)); then
    exit 0
fi

as_root=()
if ((EUID != 0)); then
    as_root=(sudo -n)
fi
if ! command -v apt-get >/dev/null || { ((EUID != 0)) && ! sudo -n true 2>/dev/null; }; then
    echo "Some tests will be skipped: no ${missing[*]}; install the packages ${packages[*]}."
    exit 0
fi

# The empty default keeps older bash from calling an empty array unset.
"${as_root[@]+"${as_root[@]}"}" apt-get update -q
"${as_root[@]+"${as_root[@]}"}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "${packages[@]}"
