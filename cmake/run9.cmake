# Helpers that keep each folder's CMakeLists.txt to a list of files.
#
#   run9_library(NAME SRCS a.cc b.cc DEPS base p9)   one folder = one library target
#   run9_program(NAME SRCS main.cc DEPS ...)         a static-pie program in bin/
#   run9_part_debug(NAME)                            its debug information goes into NAME.debug beside it
#   run9_fuzzer(NAME SRCS a_fuzz.cc DEPS ...)        a libFuzzer program, with -DRUN9_FUZZ=ON; else a test of its seeds
#   run9_test(NAME SRCS a_test.cc DEPS ...)          a GoogleTest program, registered with ctest
#   run9_time_limit(NAME SECONDS)                    how long a test may take in a release build
#   run9_skipped(NAME "reason")                      a test that this preset cannot run
#
# DEPS is the whole of what a target may include: include/ of a target is the repository's root, and
# tests/lint/includes_test checks that no file includes a folder its target does not depend on.

set(RUN9_SANITIZE "" CACHE STRING "address, thread or empty")

# How many times longer than a release build this one may take for the same.
set(RUN9_SLOWNESS 1)

add_library(run9_flags INTERFACE)
target_include_directories(run9_flags INTERFACE ${CMAKE_SOURCE_DIR})
set_property(TARGET run9_flags PROPERTY INTERFACE_COMPILE_OPTIONS
  -Wall -Wextra -Wno-missing-field-initializers -Werror=return-type -Werror=unused-result)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_compile_options(run9_flags INTERFACE -Wthread-safety -Werror=thread-safety)
else()
  # g++ 12 sees them in every Result whose value is not looked at.
  target_compile_options(run9_flags INTERFACE -Wno-maybe-uninitialized)
endif()
if(NOT RUN9_SANITIZE)
  # What nobody calls is not linked: sandboxes keep less of the programs in memory.
  target_compile_options(run9_flags INTERFACE -ffunction-sections -fdata-sections)
  target_link_options(run9_flags INTERFACE -Wl,--gc-sections)
endif()
if(RUN9_SANITIZE STREQUAL "address")
  set(RUN9_SLOWNESS 5)
  target_compile_options(run9_flags INTERFACE -fsanitize=address,undefined -fno-omit-frame-pointer
    -fno-sanitize-recover=undefined)
  target_link_options(run9_flags INTERFACE -fsanitize=address,undefined)
elseif(RUN9_SANITIZE STREQUAL "thread")
  set(RUN9_SLOWNESS 10)
  target_compile_options(run9_flags INTERFACE -fsanitize=thread -fno-omit-frame-pointer)
  target_link_options(run9_flags INTERFACE -fsanitize=thread)
endif()

# libFuzzer, with the sanitizers that make a wrong step visible: clang alone has it (./dev fuzz).
option(RUN9_FUZZ "build the fuzzers" OFF)
if(RUN9_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES Clang)
    message(FATAL_ERROR "RUN9_FUZZ needs clang: -DCMAKE_CXX_COMPILER=clang++-14")
  endif()
  target_compile_options(run9_flags INTERFACE -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer
    -fno-sanitize-recover=undefined)
  target_link_options(run9_flags INTERFACE -fsanitize=address,undefined)
  add_custom_target(fuzzers)
endif()

function(run9_library name)
  cmake_parse_arguments(A "" "" "SRCS;DEPS" ${ARGN})
  add_library(${name} STATIC ${A_SRCS})
  target_link_libraries(${name} PUBLIC run9_flags ${A_DEPS})
endfunction()

function(run9_program name)
  cmake_parse_arguments(A "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${A_SRCS})
  target_link_libraries(${name} PRIVATE run9_flags ${A_DEPS})
  if(NOT RUN9_SANITIZE)
    target_link_options(${name} PRIVATE -static-pie -Wl,-z,relro,-z,now)
  endif()
  run9_part_debug(${name})
endfunction()

# What debuggers want to know of a program lies beside it: of run9 that is 175 MB, and 6 are the program.
function(run9_part_debug name)
  if(NOT RUN9_SANITIZE)
    add_custom_command(TARGET ${name} POST_BUILD
      COMMAND ${CMAKE_OBJCOPY} --only-keep-debug $<TARGET_FILE:${name}> $<TARGET_FILE:${name}>.debug
      COMMAND ${CMAKE_OBJCOPY} --strip-debug --add-gnu-debuglink=$<TARGET_FILE:${name}>.debug $<TARGET_FILE:${name}>
      VERBATIM)
  endif()
endfunction()

function(run9_test name)
  cmake_parse_arguments(A "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${A_SRCS})
  target_link_libraries(${name} PRIVATE run9_flags ${A_DEPS} gmock gtest gtest_main Threads::Threads)
  add_test(NAME ${name} COMMAND ${name})
  run9_time_limit(${name} 120)
endfunction()

# Every limit of time in a test goes by this: ctest's own here, those of the scripts by RUN9_SLOWNESS (tests/support/patience.py).
function(run9_time_limit name seconds)
  math(EXPR limit "${seconds} * ${RUN9_SLOWNESS}")
  set_tests_properties(${name} PROPERTIES TIMEOUT ${limit})
  set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT RUN9_SLOWNESS=${RUN9_SLOWNESS})
endfunction()

# In place of a test that makes no sense here: ctest shows it as skipped, and ./dev says why.
function(run9_skipped name why)
  add_test(NAME ${name} COMMAND ${CMAKE_COMMAND} -E echo "skipped: ${why}")
  set_tests_properties(${name} PROPERTIES SKIP_REGULAR_EXPRESSION "skipped: ")
endfunction()

# A program NAME with a LLVMFuzzerTestOneInput, made by the target `fuzzers`. Without RUN9_FUZZ it is a test: it runs the
# inputs that were kept, tests/fuzz/NAME.seeds.
function(run9_fuzzer name)
  cmake_parse_arguments(A "" "" "SRCS;DEPS" ${ARGN})
  if(RUN9_FUZZ)
    add_executable(${name} EXCLUDE_FROM_ALL ${A_SRCS})
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    add_dependencies(fuzzers ${name})
  else()
    add_executable(${name} ${A_SRCS} ${CMAKE_SOURCE_DIR}/tests/fuzz/replay.cc)
    add_test(NAME ${name} COMMAND ${name} ${CMAKE_SOURCE_DIR}/tests/fuzz/${name}.seeds)
    run9_time_limit(${name} 120)
  endif()
  target_link_libraries(${name} PRIVATE run9_flags ${A_DEPS})
endfunction()

# fmt as Debian ships it is a shared library; the header-only form keeps the programs static.
add_library(fmt-header INTERFACE)
target_compile_definitions(fmt-header INTERFACE FMT_HEADER_ONLY=1)
