// SPDX-License-Identifier: Apache-2.0
// Intrusive doubly linked lists: a head and its members are the same struct; an empty list points
// to itself.
#ifndef PCR_BASE_LIST_H
#define PCR_BASE_LIST_H

#include "base/assert.h"

#include <stdbool.h>
#include <stddef.h>

struct pcr_list {
    struct pcr_list *next;
    struct pcr_list *prev;
};

static inline void pcr_list_init(struct pcr_list *head) {
    head->next = head->prev = head;
}
static inline bool pcr_list_empty(const struct pcr_list *head) {
    return head->next == head;
}
static inline void pcr_list_insert_before(struct pcr_list *at, struct pcr_list *node) {
    node->prev = at->prev;
    node->next = at;
    at->prev->next = node;
    at->prev = node;
}
static inline void pcr_list_push_back(struct pcr_list *head, struct pcr_list *node) {
    pcr_list_insert_before(head, node);
}
static inline void pcr_list_push_front(struct pcr_list *head, struct pcr_list *node) {
    pcr_list_insert_before(head->next, node);
}
// All members of `from` behind those of `to`; `from` is empty then.
static inline void pcr_list_move(struct pcr_list *to, struct pcr_list *from) {
    if (from->next == from)
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    pcr_list_init(from);
}
// Takes a member out and leaves it a list of itself, so that removing twice does no harm.
static inline void pcr_list_remove(struct pcr_list *node) {
    node->prev->next = node->next;
    node->next->prev = node->prev;
    pcr_list_init(node);
}

#define PCR_LIST_ENTRY(node, type, member) PCR_CONTAINER_OF(node, type, member)
#define PCR_LIST_FOR_EACH(node, head) \
    for (struct pcr_list * (node) = (head)->next; (node) != (head); (node) = (node)->next)
// The current member may be removed.
#define PCR_LIST_FOR_EACH_SAFE(node, after, head)                                            \
    for (struct pcr_list * (node) = (head)->next, *(after) = (node)->next; (node) != (head); \
         (node) = (after), (after) = (node)->next)

#endif
