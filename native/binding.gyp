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
        # memory
        'binding/memory_binding.cc',
        'binding/page_set_wrap.cc',
        'binding/region_wrap.cc',
        'memory/page_kernels.cc',
        'memory/page_set.cc',
        'memory/region.cc',
      ],
      'dependencies': ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except"],
      'defines': ['NAPI_VERSION=8'],
      'ldflags': ['-pthread'],
    },
  ],
}
