# find_package(run9-p9): the target run9::p9. Headers are <p9/...> and <base/...>; Boost.Outcome and fmt, of which headers
# alone are needed, have to be where the compiler looks.
get_filename_component(run9_p9_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(NOT TARGET run9::p9)
  add_library(run9::p9 STATIC IMPORTED)
  set_target_properties(run9::p9 PROPERTIES
    IMPORTED_LOCATION "${run9_p9_prefix}/lib/librun9-p9.a"
    INTERFACE_INCLUDE_DIRECTORIES "${run9_p9_prefix}/include/run9"
    INTERFACE_COMPILE_DEFINITIONS FMT_HEADER_ONLY=1
    INTERFACE_COMPILE_FEATURES cxx_std_20
    INTERFACE_LINK_LIBRARIES "${run9_p9_prefix}/lib/librun9-base.a")
endif()
