{
  'target_defaults': {
    'cflags_cc': ['-std=c++17', '-Wall', '-Wextra', '-Werror', '-O3', '-fno-strict-aliasing'],
    'cflags_cc!': ['-fno-rtti', '-std=gnu++17', '-std=gnu++20'],
    'include_dirs': ['.'],
  },
  'targets': [
    {
      'target_name': 'dwcp',
      'sources': [
        'binding/addon.cc',
        # engine
        'binding/engine_binding.cc',
        'binding/engine_wrap.cc',
        'binding/link_core_wrap.cc',
        'engine/byte_transfer.cc',
        'engine/engine.cc',
        'engine/frame.cc',
        'engine/link.cc',
        'engine/link_core.cc',
        'engine/local_socket.cc',
        'engine/page_transfer.cc',
        'engine/pollable.cc',
        'engine/stream.cc',
        'engine/transfer.cc',
        # memory
        'binding/memory_binding.cc',
        'binding/page_set_wrap.cc',
        'binding/region_wrap.cc',
        'binding/tracker_wrap.cc',
        'memory/dirty_tracker.cc',
        'memory/page_kernels.cc',
        'memory/page_set.cc',
        'memory/region.cc',
      ],
      'dependencies': ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except"],
      'defines': ['NAPI_VERSION=8'],
      'ldflags': ['-pthread'],
    },
    {
      'target_name': 'dwcp-guest',
      'type': 'executable',
      'sources': [
        'guest/control.cc',
        'guest/main.cc',
        'guest/workload.cc',
        'memory/region.cc',
      ],
      'cflags_cc!': ['-fno-exceptions'],
      'libraries': ['-pthread'],
    },
  ],
}
