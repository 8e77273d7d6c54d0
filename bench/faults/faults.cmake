# Builds of the program with one fault each, for bench/prove.py: build/PRESET/faults/evolora_NAME. Only on request: cmake --build build/release --target evolora_faults
#
# One source file is compiled anew with the fault that make_fault.py writes into it. Its object stands before the libraries, so the linker takes its
# symbols and leaves the library's own object of that file alone. All else is the program's own objects.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
add_custom_target(evolora_faults)

function(evolora_fault name source)
  set(generator ${CMAKE_SOURCE_DIR}/bench/faults/make_fault.py)
  set(faulty ${CMAKE_BINARY_DIR}/generated/faults/${name}/${source})
  add_custom_command(
    OUTPUT ${faulty}
    COMMAND ${Python3_EXECUTABLE} -B ${generator} ${name} ${CMAKE_SOURCE_DIR}/${source} ${faulty}
    DEPENDS ${generator} ${CMAKE_SOURCE_DIR}/${source}
    VERBATIM)
  set(program evolora_fault_${name})
  set_source_files_properties(${CMAKE_SOURCE_DIR}/${source} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)  # the library's is an object of its own, too
  add_executable(${program} EXCLUDE_FROM_ALL ${faulty} $<TARGET_OBJECTS:evolora>)
  target_link_libraries(${program} PRIVATE evolora_report evolora_evolve CLI11::CLI11)
  set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/faults OUTPUT_NAME evolora_${name})
  add_dependencies(evolora_faults ${program})
endfunction()

evolora_fault(none src/train/optimizer.cpp)
evolora_fault(slow src/engine/training_engine.cpp)
evolora_fault(layer src/engine/step_program.cpp)
evolora_fault(sample src/data/native_batcher.cpp)
evolora_fault(rate src/train/optimizer.cpp)
