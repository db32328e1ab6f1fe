// libibverbs and librdmacm as this machine has them: every function that the headers do not inline.
#pragma once
#include <string>

#include "rdma/verbs.h"

#if DWCP_HAS_VERBS
namespace dwcp {

#define DWCP_IBVERBS(X)                             \
  X(get_device_list, ibv_get_device_list)           \
  X(free_device_list, ibv_free_device_list)         \
  X(get_device_name, ibv_get_device_name)           \
  X(open_device, ibv_open_device)                   \
  X(close_device, ibv_close_device)                 \
  X(query_device, ibv_query_device)                 \
  X(query_port, ibv_query_port)                     \
  X(query_gid, ibv_query_gid)                       \
  X(alloc_pd, ibv_alloc_pd)                         \
  X(dealloc_pd, ibv_dealloc_pd)                     \
  X(reg_mr, ibv_reg_mr)                             \
  X(dereg_mr, ibv_dereg_mr)                         \
  X(create_comp_channel, ibv_create_comp_channel)   \
  X(destroy_comp_channel, ibv_destroy_comp_channel) \
  X(create_cq, ibv_create_cq)                       \
  X(destroy_cq, ibv_destroy_cq)                     \
  X(get_cq_event, ibv_get_cq_event)                 \
  X(ack_cq_events, ibv_ack_cq_events)               \
  X(modify_qp, ibv_modify_qp)                       \
  X(query_qp, ibv_query_qp)                         \
  X(wc_status_str, ibv_wc_status_str)

#define DWCP_RDMACM(X)                                 \
  X(create_event_channel, rdma_create_event_channel)   \
  X(destroy_event_channel, rdma_destroy_event_channel) \
  X(create_id, rdma_create_id)                         \
  X(destroy_id, rdma_destroy_id)                       \
  X(set_option, rdma_set_option)                       \
  X(bind_addr, rdma_bind_addr)                         \
  X(listen, rdma_listen)                               \
  X(get_src_port, rdma_get_src_port)                   \
  X(resolve_addr, rdma_resolve_addr)                   \
  X(resolve_route, rdma_resolve_route)                 \
  X(create_qp, rdma_create_qp)                         \
  X(destroy_qp, rdma_destroy_qp)                       \
  X(connect, rdma_connect)                             \
  X(accept, rdma_accept)                               \
  X(reject, rdma_reject)                               \
  X(disconnect, rdma_disconnect)                       \
  X(get_cm_event, rdma_get_cm_event)                   \
  X(ack_cm_event, rdma_ack_cm_event)                   \
  X(event_str, rdma_event_str)

struct VerbsLibrary {
#define DWCP_MEMBER(name, symbol) decltype(&::symbol) name = nullptr;
  DWCP_IBVERBS(DWCP_MEMBER)
  DWCP_RDMACM(DWCP_MEMBER)
#undef DWCP_MEMBER

  // Loaded by the first who asks and never unloaded; null, and why, where the machine lacks it.
  static const VerbsLibrary* Load(std::string* why);
};

}  // namespace dwcp
#endif
