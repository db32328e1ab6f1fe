// The types of libibverbs and librdmacm, where their headers are there at build time. The libraries
// themselves are looked for at run time (library.h), so one build serves machines without them.
#pragma once

#if __has_include(<infiniband/verbs.h>) && __has_include(<rdma/rdma_cma.h>)
#define DWCP_HAS_VERBS 1
#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>
#else
#define DWCP_HAS_VERBS 0
#endif
