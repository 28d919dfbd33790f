# How the kernels are compiled, for every project that has them.

# The instruction sets of csrc/common/isa.h, with what the compiler needs for each.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  set(PYEMO_ISAS baseline avx2 avx512)
  set(PYEMO_FLAGS_avx2 -mavx2 -mfma -mf16c)
  set(PYEMO_FLAGS_avx512 ${PYEMO_FLAGS_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl)
  set(PYEMO_FLAGS_avx512_bf16 ${PYEMO_FLAGS_avx512} -mavx512bf16)
  set(PYEMO_FLAGS_amx ${PYEMO_FLAGS_avx512_bf16} -mamx-tile -mamx-bf16)
  include(CheckCXXCompilerFlag)
  check_cxx_compiler_flag("-mavx512bf16 -mamx-tile -mamx-bf16" PYEMO_HAS_BF16)
  if(PYEMO_HAS_BF16)
    list(APPEND PYEMO_ISAS avx512_bf16 amx)
    add_compile_definitions(PYEMO_HAS_BF16)
  endif()
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(PYEMO_ISAS neon)
else()
  set(PYEMO_ISAS baseline)
endif()

set(PYEMO_OPTIMIZATION -O3)  # of the kernels, whatever the build type

# pyemo_add_kernels(<target> <source>...): compiles each source once per instruction set into the target.
function(pyemo_add_kernels target)
  foreach(isa IN LISTS PYEMO_ISAS)
    add_library(${target}_${isa} OBJECT ${ARGN})
    target_compile_definitions(${target}_${isa} PRIVATE PYEMO_ISA=${isa})
    # Two warnings are false here: GCC's about the calling convention of wide vectors (all are inlined), and the one that its own
    # intrinsics cause (GCC bug 105593).
    target_compile_options(${target}_${isa} PRIVATE ${PYEMO_OPTIMIZATION} -ffp-contract=fast -fno-exceptions ${PYEMO_FLAGS_${isa}}
      $<$<CXX_COMPILER_ID:GNU>:-Wno-psabi -Wno-uninitialized>)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_${isa}>)
    add_custom_command(TARGET ${target} POST_BUILD VERBATIM
      COMMAND ${CMAKE_COMMAND} -DNM=${CMAKE_NM} -DISA=${isa} "-DOBJECTS=$<TARGET_OBJECTS:${target}_${isa}>"
              -P ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/check_kernel_symbols.cmake)
  endforeach()
endfunction()
