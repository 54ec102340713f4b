#!/bin/sh
# Run every command of docs/spin_states.md:  sh examples/spin_states/run.sh [MODEL [FOLDER]]
# FOLDER must be new. Needs polcalc[chemistry] (RDKit). With FILL=yes the pictures and what was printed go into the page.
set -e
model=${1:-carbenes-st}
folder=${2:-spin-states}
example=$(dirname "$0")/spin_states.py
images=$(dirname "$0")/../../docs/images
export COLUMNS=120

# Print, and keep what was printed: keep NAME COMMAND…
keep() {
    name=$1
    shift
    code=0
    "$@" > "$folder/$name.txt" 2>&1 || code=$?
    cat "$folder/$name.txt"
    [ $code = 0 ] || echo "(exit code $code)" | tee -a "$folder/$name.txt"
}

mkdir "$folder"
polcalc info "$model"
python "$example" structures "$folder"

keep states polcalc states "$folder/methylene.xyz" "$folder/pentadienylidene.xyz" --model "$model" \
    --relax --crossing 1,3 --output "$folder/states"
keep scan python "$example" scan "$model" "$folder"
keep ions polcalc states "$folder/methylene.xyz" --model "$model" --charges -1,0,1 --output "$folder/ions"

polcalc md "$folder/states/relaxed.extxyz" --frame -1 --model "$model" --temperature-K 300 --steps ${STEPS:-20000} --extxyz --output "$folder/triplet"
polcalc states "$folder/triplet/trajectory.extxyz" --model "$model" --output "$folder/gaps" > "$folder/gaps.log"
keep gaps python "$example" gaps "$folder"
keep audit polcalc audit "$model"

if [ "$FILL" = yes ]; then
    cp "$folder/states/levels.png" "$images/spin-states-levels.png"
    cp "$folder/scan.png" "$images/spin-states-scan.png"
    cp "$folder/triplet/dynamics.png" "$images/spin-states-triplet.png"
    cp "$folder/gaps.png" "$images/spin-states-gaps.png"
    python "$example" fill "$folder"
fi
