# Build rules: a library is all *.cpp under src/NAME except tests and benchmarks; *_test.cpp become one GoogleTest program, *_benchmark.cpp one Google Benchmark program.

function(evolora_library name)
  cmake_parse_arguments(ARG "OPTIMIZE" "" "DEPENDS" ${ARGN})
  file(GLOB_RECURSE all CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cpp)
  set(tests ${all})
  set(benchmarks ${all})
  list(FILTER all EXCLUDE REGEX "(_(test|benchmark|module_entry)|/test_[^/]*)\\.cpp$")
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  list(FILTER benchmarks INCLUDE REGEX "_benchmark\\.cpp$")

  if(NOT all)
    return()
  endif()
  add_library(evolora_${name} STATIC ${all})
  target_include_directories(evolora_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(evolora_${name} PUBLIC ${ARG_DEPENDS})
  if(ARG_OPTIMIZE AND CMAKE_BUILD_TYPE STREQUAL "Debug")
    # Kernels without optimisation keep their accumulators in memory and are useless even for tests.
    target_compile_options(evolora_${name} PRIVATE -O2)
  elseif(ARG_OPTIMIZE AND EVOLORA_SANITIZE)
    # Sanitized and fully unrolled, the GEMM takes g++ ten minutes at -O2 and less than one at -O1.
    target_compile_options(evolora_${name} PRIVATE -O1)
  endif()

  if(EVOLORA_TESTS AND tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE evolora_${name} evolora_test_support GTest::gtest_main GTest::gmock)
    target_compile_definitions(${name}_test PRIVATE EVOLORA_SOURCE_DIR="${CMAKE_SOURCE_DIR}" EVOLORA_BUILD_DIR="${CMAKE_BINARY_DIR}")
    gtest_discover_tests(${name}_test TEST_PREFIX "${name}/" DISCOVERY_MODE PRE_TEST PROPERTIES TIMEOUT 600)
  endif()
  if(EVOLORA_BENCHMARKS AND benchmarks)
    add_executable(${name}_benchmark ${benchmarks})
    target_link_libraries(${name}_benchmark PRIVATE evolora_${name} benchmark::benchmark_main)
  endif()
endfunction()

# Fixtures that several folders' tests share: src/*/test_*.cpp.
function(evolora_test_support)
  cmake_parse_arguments(ARG "" "" "DEPENDS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/test_*.cpp)
  add_library(evolora_test_support STATIC EXCLUDE_FROM_ALL ${sources})
  target_link_libraries(evolora_test_support PUBLIC ${ARG_DEPENDS})
endfunction()

# The Rust crate src/text/bridge as a static library with a C interface (src/text/bridge.h). Its crates are fixed by Cargo.lock.
function(evolora_rust_bridge)
  set(crate ${CMAKE_SOURCE_DIR}/src/text/bridge)
  set(target_dir ${CMAKE_SOURCE_DIR}/build/cargo)  # shared by all presets: the crates do not depend on them
  set(archive ${target_dir}/release/libevolora_text_bridge.a)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${crate}/src/*.rs ${crate}/Cargo.toml ${crate}/Cargo.lock)
  add_custom_command(
    OUTPUT ${archive}
    COMMAND cargo build --release --locked --quiet --manifest-path ${crate}/Cargo.toml --target-dir ${target_dir}
    DEPENDS ${sources}
    COMMENT "Building the text bridge (Rust)"
    VERBATIM)
  add_custom_target(evolora_text_bridge_build DEPENDS ${archive})
  add_library(evolora_text_bridge STATIC IMPORTED GLOBAL)
  set_target_properties(evolora_text_bridge PROPERTIES IMPORTED_LOCATION ${archive})
  target_link_libraries(evolora_text_bridge INTERFACE Threads::Threads ${CMAKE_DL_LIBS} m)
  add_dependencies(evolora_text_bridge evolora_text_bridge_build)
endfunction()

# src/reference as the module evolora_mlx_engine.so, which the program loads when a run asks for it: so the program itself needs no MLX library.
# Which libmlx.so is found at run time: LD_LIBRARY_PATH, then the module's folder, then where the build found it.
function(evolora_mlx_engine)
  set(wanted ${EVOLORA_MLX})
  if(wanted STREQUAL "AUTO")
    # MLX's own library is not instrumented, and the module repeats global symbols of the program: sanitizers report both.
    if(EXISTS ${EVOLORA_MLX_FOLDER}/share/cmake/MLX/MLXConfig.cmake AND NOT EVOLORA_SANITIZE)
      set(wanted ON)
    else()
      set(wanted OFF)
    endif()
  endif()
  if(NOT wanted)
    message(STATUS "MLX engine: not built (tools/bootstrap.sh build installs MLX into build/mlx)")
    return()
  endif()
  find_package(MLX 0.32.4 EXACT CONFIG REQUIRED PATHS ${EVOLORA_MLX_FOLDER}/share/cmake/MLX NO_DEFAULT_PATH)
  set_target_properties(mlx PROPERTIES IMPORTED_GLOBAL TRUE)
  evolora_library(reference DEPENDS evolora_engine mlx)
  target_compile_definitions(evolora_reference PRIVATE EVOLORA_VERSION="${PROJECT_VERSION}")
  target_compile_options(evolora_reference PRIVATE -fvisibility=hidden)
  add_library(evolora_mlx_engine MODULE ${CMAKE_SOURCE_DIR}/src/reference/mlx_module_entry.cpp)
  target_link_libraries(evolora_mlx_engine PRIVATE evolora_reference)
  target_link_options(evolora_mlx_engine PRIVATE -Wl,--enable-new-dtags -Wl,--exclude-libs,ALL)
  target_compile_definitions(evolora_mlx_engine PRIVATE EVOLORA_VERSION="${PROJECT_VERSION}")
  set_target_properties(evolora_mlx_engine PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR} BUILD_RPATH "$ORIGIN;${EVOLORA_MLX_FOLDER}/lib")
endfunction()

function(evolora_program name folder)
  cmake_parse_arguments(ARG "" "" "DEPENDS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  if(NOT sources)
    return()
  endif()
  add_executable(${name} ${sources})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/${folder})
  target_link_libraries(${name} PRIVATE ${ARG_DEPENDS})
  target_compile_definitions(${name} PRIVATE EVOLORA_VERSION="${PROJECT_VERSION}")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
endfunction()
