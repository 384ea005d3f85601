// SPDX-License-Identifier: Apache-2.0
// The input is a schema, a NUL, and a document (without a NUL: the schema is its own document).
// Nothing may crash, and a violation must come with every verdict that is negative.
#include "json/schema_priv.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool count(void *ctx, const struct pacer_violation *violation) {
    ++*(size_t *)ctx;
    return violation->instance && violation->schema && violation->message[0];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    const char *nul = size ? memchr(text, '\0', size) : NULL;
    size_t schema_bytes = nul ? (size_t)(nul - text) : size;
    const char *document = nul ? nul + 1 : text;
    size_t document_bytes = nul ? size - schema_bytes - 1 : size;
    struct pacer_contract *contract;
    struct pacer_error err;
    int rc = pacer_contract_parse(text, schema_bytes, NULL, &contract, &err);
    if (rc < 0) {
        if (contract || err.code != rc || !err.message[0])
            abort();
        return 0;
    }
    size_t violations = 0;
    rc = pacer_contract_check(contract, document, document_bytes, count, &violations, &err);
    if ((rc == PACER_ECONTRACT) != (violations > 0))
        abort();
    // A second check with the scratch of the first comes to the same verdict.
    if (pacer_contract_check(contract, document, document_bytes, NULL, NULL, NULL) != rc)
        abort();
    pacer_contract_destroy(contract);
    return 0;
}
