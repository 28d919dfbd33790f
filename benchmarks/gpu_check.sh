#!/usr/bin/env bash
# Builds pyemo with its CUDA kernels, tests them, and measures them, on a machine with a GPU and no network, in less than eight minutes.
#
#   benchmarks/gpu_check.sh [FOLDER]     results as files in FOLDER (default: $OUT, else ./gpu-check)
#
# Needs nvcc, CMake, pybind11, PyTorch, pytest and pytest-benchmark; scikit-build-core or, without it, CMake alone. A step that fails or
# takes too long is reported, and the next begins. Exit status: 0 if all went well.
#
#   FULL=1     every case with every compiled baseline (takes far longer), and no limit of time
#   ARCHS=...  CMAKE_CUDA_ARCHITECTURES of the build (default: native)
#   PYTHON=... the interpreter (default: python3)
set -u
REPOSITORY=$(cd "$(dirname "$0")/.." && pwd)
FOLDER=${1:-${OUT:-$PWD/gpu-check}}
PYTHON=${PYTHON:-python3}
ARCHS=${ARCHS:-native}
LIMIT=470
mkdir -p "$FOLDER"
FOLDER=$(cd "$FOLDER" && pwd)
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
SITE=$WORK/site
REPORT=$FOLDER/report.txt
: >"$REPORT"
failed=0
export PYTHONUNBUFFERED=1 CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}
export TORCHINDUCTOR_CACHE_DIR=$WORK/inductor TRITON_CACHE_DIR=$WORK/triton

say() { echo "$*" | tee -a "$REPORT"; }

# A function is not a command that `timeout` could run: it runs in a session of its own, which is ended as a whole.
run_limited() {
    local seconds=$1 child watcher status
    shift
    set -m
    (cd "$WORK" && PYTHONPATH=$SITE "$@") &
    child=$!
    (sleep "$seconds" && touch "$WORK/late" && kill -TERM -- "-$child" && sleep 5 && kill -KILL -- "-$child") 2>/dev/null &
    watcher=$!
    set +m
    rm -f "$WORK/late"
    wait "$child"
    status=$?
    kill -- "-$watcher" 2>/dev/null
    wait "$watcher" 2>/dev/null
    [ -f "$WORK/late" ] && return 124
    return $status
}

# step NAME SECONDS LOG COMMAND...: with what is left of the time; its output goes to the end of LOG.
step() {
    local name=$1 seconds=$2 log=$3 start=$SECONDS status
    shift 3
    if [ -z "${FULL:-}" ]; then
        [ $((LIMIT - SECONDS)) -lt "$seconds" ] && seconds=$((LIMIT - SECONDS))
    else
        seconds=36000
    fi
    if [ "$seconds" -lt 5 ]; then
        say "SKIPPED $name: no time left"
        failed=1
        return 1
    fi
    run_limited "$seconds" "$@" >>"$log" 2>&1
    status=$?
    if [ $status -eq 0 ]; then
        say "ok      $name ($((SECONDS - start)) s)"
    else
        [ $status -eq 124 ] && say "TIMEOUT $name after $seconds s" || say "FAILED  $name, exit status $status ($((SECONDS - start)) s)"
        failed=1
    fi
    return $status
}

machine() {
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv
    nvcc --version | tail -2
    "$PYTHON" -c "import sys, torch; print(sys.version); print('torch', torch.__version__, torch.version.cuda, torch.cuda.get_device_name())"
}

build() {
    if "$PYTHON" -c "import scikit_build_core" 2>/dev/null; then
        "$PYTHON" -m pip install --no-build-isolation --no-deps --no-index --target "$SITE" -C cmake.define.PYEMO_CUDA=ON \
            -C "cmake.define.CMAKE_CUDA_ARCHITECTURES=$ARCHS" "$REPOSITORY"
        return
    fi
    cmake -S "$REPOSITORY" -B "$WORK/build" -DCMAKE_BUILD_TYPE=Release -DPYEMO_CUDA=ON "-DCMAKE_CUDA_ARCHITECTURES=$ARCHS" \
        "-DPython_EXECUTABLE=$(command -v "$PYTHON")" "-Dpybind11_DIR=$("$PYTHON" -m pybind11 --cmakedir)" &&
        cmake --build "$WORK/build" --parallel && cmake --install "$WORK/build" --prefix "$SITE" &&
        cp -r "$REPOSITORY/pyemo/." "$SITE/pyemo/" && cp -r "$REPOSITORY"/plugins/pyemo_* "$SITE/"
}

python_tests() {
    local parallel=()
    "$PYTHON" -c "import xdist" 2>/dev/null && parallel=(-n 6)
    "$PYTHON" -m pytest -q -p no:cacheprovider --rootdir "$REPOSITORY" --junit-xml "$FOLDER/tests.xml" "${parallel[@]}" \
        "$REPOSITORY/tests/ops/cuda/test_gpu.py"
}

# bench NAME ARGUMENTS...: a report of pytest-benchmark.
bench() {
    local name=$1
    shift
    "$PYTHON" -m pytest -q -p no:cacheprovider -p no:xdist -c /dev/null --rootdir "$REPOSITORY/benchmarks" --benchmark-quiet \
        --benchmark-json "$WORK/$name.bench.json" "$@"
}

sanitize() {
    compute-sanitizer --tool "$1" --error-exitcode 9 --print-limit 20 "$PYTHON" "$REPOSITORY/benchmarks/gpu_sanitize.py"
}

SUITE=$REPOSITORY/benchmarks/test_cuda
some=(-k "(Swin-T and (stage-1 or stage-3) and shifted) or (Swin-B and stage-1 and shifted)")
[ -n "${FULL:-}" ] && some=()

cd "$WORK" || exit 1
step machine 30 "$REPORT" machine || exit 1
if ! step build 200 "$FOLDER/build.txt" build; then
    tail -30 "$FOLDER/build.txt"
    exit 1
fi
step "kernels load" 30 "$REPORT" "$PYTHON" -c "import torch; from pyemo.ops import cuda; print('capability', cuda.require_built().capability(0))"
step tests 130 "$FOLDER/tests.txt" python_tests
step "window attention" 110 "$FOLDER/benchmarks.txt" bench window "${SUITE}_window_attention.py" "${some[@]}"
step "colour deconvolution" 60 "$FOLDER/benchmarks.txt" bench color "${SUITE}_color_deconvolution.py"
step "spectrogram slices" 60 "$FOLDER/benchmarks.txt" bench spectrogram "${SUITE}_spectrogram_slices.py"
step "Swin-T training" 45 "$FOLDER/benchmarks.txt" bench models --no-compile "${SUITE}_models.py"
[ -n "${FULL:-}" ] || step "window attention, all stages" 60 "$FOLDER/benchmarks.txt" \
    bench window-all --no-compile "${SUITE}_window_attention.py"
if command -v compute-sanitizer >/dev/null; then
    step memcheck 45 "$FOLDER/sanitizer.txt" sanitize memcheck
    step racecheck 60 "$FOLDER/sanitizer.txt" sanitize racecheck
else
    say "SKIPPED memcheck, racecheck: there is no compute-sanitizer"
fi
step summary 30 "$REPORT" "$PYTHON" "$REPOSITORY/benchmarks/gpu_report.py" "$FOLDER/benchmarks.json" "$WORK"/*.bench.json
[ -f "$FOLDER/tests.txt" ] && grep -E "^(FAILED|ERROR)|passed|failed" "$FOLDER/tests.txt" | tail -60 >>"$REPORT"
say "$SECONDS s in all"
tail -c 9000 "$REPORT"
exit $failed
