// SPDX-License-Identifier: Apache-2.0
// What people hand in as ONNX models that are none.
#include "onnx/onnx.h"

struct magic {
    size_t offset;
    struct pcr_str bytes;
    const char *what;
};

// Releases of clang-format differ on a macro that is an initializer.
// clang-format off
#define MAGIC(offset, literal, what) {(offset), {literal, sizeof(literal) - 1}, (what)}
// clang-format on

static const struct magic magics[] = {
    MAGIC(0, "version https://git-lfs",
          "a Git LFS pointer, not the file itself; run 'git lfs pull'"),
    MAGIC(0, "<!DOCTYPE", "an HTML page; the download brought an error or login page"),
    MAGIC(0, "<!doctype", "an HTML page; the download brought an error or login page"),
    MAGIC(0, "<html", "an HTML page; the download brought an error or login page"),
    MAGIC(0, "<HTML", "an HTML page; the download brought an error or login page"),
    MAGIC(0, "<?xml", "an XML document (PMML or OpenVINO?)"),
    MAGIC(0, "PK\3\4", "a ZIP archive (PyTorch, Keras or NumPy?); export the model to ONNX"),
    MAGIC(0, "\x89HDF\r\n", "an HDF5 file (Keras?); export the model to ONNX"),
    MAGIC(0, "\x1f\x8b", "compressed with gzip; unpack it"),
    MAGIC(0, "\x28\xb5\x2f\xfd", "compressed with zstd; unpack it"),
    MAGIC(0, "BZh", "compressed with bzip2; unpack it"),
    MAGIC(0,
          "\xfd"
          "7zXZ",
          "compressed with xz; unpack it"),
    MAGIC(257, "ustar", "a tar archive; unpack it"),
    MAGIC(0, "\x93NUMPY", "a NumPy array"),
    MAGIC(0, "GGUF", "a GGUF file (llama.cpp)"),
    MAGIC(0,
          "\x7f"
          "ELF",
          "a program or shared library"),
    MAGIC(0, "%PDF", "a PDF document"),
    MAGIC(4, "TFL3", "a TensorFlow Lite model; convert it with tf2onnx"),
    MAGIC(4, "ORTM", "a model in ONNX Runtime's own format (.ort); use the .onnx it was made from"),
    MAGIC(0, "\x80\x02", "a Python pickle; export the model to ONNX"),
    MAGIC(0, "\x80\x03", "a Python pickle; export the model to ONNX"),
    MAGIC(0, "\x80\x04", "a Python pickle; export the model to ONNX"),
    MAGIC(0, "\x80\x05", "a Python pickle; export the model to ONNX"),
    MAGIC(8, "{\"",
          "a safetensors file, which holds weights but no graph; export the model to ONNX"),
    MAGIC(0, "tree\n", "a LightGBM text model; convert it to ONNX"),
    MAGIC(0, "{L", "a UBJSON file (XGBoost?); convert it to ONNX"),
    MAGIC(0, "{", "a JSON document (XGBoost?); convert it to ONNX"),
    MAGIC(0, "\x08\x01\x12", "a TensorFlow SavedModel; convert it with tf2onnx"),
    MAGIC(0, "\x0a",
          "another kind of protobuf file (a TensorFlow graph?); convert it with tf2onnx"),
};

static bool is_text(struct pcr_str file) {
    size_t n = file.len < 512 ? file.len : 512;
    size_t foreign = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)file.ptr[i];
        if (c < 0x20 && c != '\n' && c != '\r' && c != '\t')
            return false;
        if (c == 0x7f)
            return false;
        foreign += c > 0x7f;
    }
    return foreign <= n / 4;
}

const char *pcr_onnx_sniff(struct pcr_str file) {
    if (file.len == 0)
        return "an empty file; the copy or download did not work";
    for (size_t i = 0; i < PCR_COUNT_OF(magics); i++) {
        const struct magic *magic = &magics[i];
        if (file.len >= magic->offset + magic->bytes.len &&
            memcmp(file.ptr + magic->offset, magic->bytes.ptr, magic->bytes.len) == 0)
            return magic->what;
    }
    return is_text(file) ? "a text file" : NULL;
}
