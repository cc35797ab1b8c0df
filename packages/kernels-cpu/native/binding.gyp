{
  # One static library of kernels per instruction set, so that each is compiled with its own flags and nothing else is.
  # Kernels use infinities and are deterministic: contraction to FMA is allowed, -ffast-math is not.
  'variables': {
    'kernel_flags': ['-O3', '-ffp-contract=fast', '-fno-math-errno', '-fno-trapping-math', '-fno-exceptions', '-fno-rtti',
                     '-fvisibility=hidden', '-Wall', '-Wno-psabi'],
    'kernel_flags_removed': ['-O2', '-std=gnu++17', '-std=gnu++20', '-g'],
  },
  'target_defaults': {
    'configurations': { 'Release': { 'defines': ['NDEBUG'] } },
    'cflags!': ['<@(kernel_flags_removed)'],
    'cflags_cc!': ['<@(kernel_flags_removed)'],
    'cflags_cc': ['-std=c++17'],
    'xcode_settings': { 'CLANG_CXX_LANGUAGE_STANDARD': 'c++17', 'GCC_OPTIMIZATION_LEVEL': '3', 'MACOSX_DEPLOYMENT_TARGET': '11.0' },
  },
  'targets': [
    {
      'target_name': 'tilegrad',
      'sources': ['addon.cc'],
      'include_dirs': ["<!(node -p \"require('node-addon-api').include_dir\")"],
      'defines': ['NAPI_VERSION=8', 'NAPI_DISABLE_CPP_EXCEPTIONS', 'NODE_ADDON_API_DISABLE_DEPRECATED'],
      'cflags_cc': ['-O2', '-fno-exceptions', '-fvisibility=hidden', '-Wall'],
      'conditions': [
        ['target_arch=="x64"', { 'dependencies': ['kernels_baseline', 'kernels_avx2', 'kernels_avx512'] }],
        ['target_arch=="arm64"', { 'dependencies': ['kernels_neon'] }],
        ['target_arch!="x64" and target_arch!="arm64"', { 'dependencies': ['kernels_baseline'] }],
      ],
    },
  ],
  'conditions': [
    ['target_arch!="arm64"', {
      'targets': [
        {
          'target_name': 'kernels_baseline',
          'type': 'static_library',
          'sources': ['kernels-target.cc'],
          'defines': ['TILEGRAD_TARGET=baseline'],
          'cflags_cc': ['<@(kernel_flags)'],
          'xcode_settings': { 'OTHER_CPLUSPLUSFLAGS': ['<@(kernel_flags)'] },
        },
      ],
    }],
    ['target_arch=="x64"', {
      'targets': [
        {
          'target_name': 'kernels_avx2',
          'type': 'static_library',
          'sources': ['kernels-target.cc'],
          'defines': ['TILEGRAD_TARGET=avx2'],
          'cflags_cc': ['<@(kernel_flags)', '-mavx2', '-mfma', '-mf16c'],
          'xcode_settings': { 'OTHER_CPLUSPLUSFLAGS': ['<@(kernel_flags)', '-mavx2', '-mfma', '-mf16c'] },
        },
        {
          'target_name': 'kernels_avx512',
          'type': 'static_library',
          'sources': ['kernels-target.cc'],
          'defines': ['TILEGRAD_TARGET=avx512'],
          'cflags_cc': ['<@(kernel_flags)', '-mavx2', '-mfma', '-mf16c', '-mavx512f', '-mavx512dq', '-mavx512bw', '-mavx512vl',
                        '-mprefer-vector-width=512'],
          'xcode_settings': { 'OTHER_CPLUSPLUSFLAGS': ['<@(kernel_flags)', '-mavx2', '-mfma', '-mf16c', '-mavx512f', '-mavx512dq',
                                                       '-mavx512bw', '-mavx512vl', '-mprefer-vector-width=512'] },
        },
      ],
    }],
    ['target_arch=="arm64"', {
      'targets': [
        {
          'target_name': 'kernels_neon',
          'type': 'static_library',
          'sources': ['kernels-target.cc'],
          'defines': ['TILEGRAD_TARGET=neon'],
          'cflags_cc': ['<@(kernel_flags)'],
          'xcode_settings': { 'OTHER_CPLUSPLUSFLAGS': ['<@(kernel_flags)'] },
        },
      ],
    }],
  ],
}
