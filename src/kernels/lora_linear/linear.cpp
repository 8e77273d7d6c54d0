// linear.h as single products.
#include "kernels/lora_linear/linear.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "kernels/lora_linear/few_rows.h"
#include "kernels/lora_linear/gemm.h"

namespace evolora::cpu {
namespace {

gemm::Product forward_product(const WeightView& weight, const float* x, std::int64_t n, float beta, float* y, Arithmetic arithmetic) {
  CHECK(beta == 0 || beta == 1);
  CHECK(arithmetic != Arithmetic::kInt8);
  gemm::Product product{.rows = n, .cols = weight.out, .arithmetic = arithmetic, .accumulate = beta != 0, .c = y, .ldc = weight.out};
  (arithmetic == Arithmetic::kFp32 ? product.terms : product.low_terms).push_back({x, weight.in, weight.in, {.weight = weight}});
  return product;
}

gemm::Product backward_product(const WeightView& weight, const float* dy, std::int64_t n, float beta, float* dx, Arithmetic arithmetic) {
  CHECK(beta == 0 || beta == 1);
  CHECK(arithmetic != Arithmetic::kInt8);
  gemm::Product product{.rows = n, .cols = weight.in, .arithmetic = arithmetic, .accumulate = beta != 0, .c = dx, .ldc = weight.in};
  (arithmetic == Arithmetic::kFp32 ? product.terms : product.low_terms)
      .push_back({dy, weight.out, weight.out, {.weight = weight, .columns_are_rows = false}});
  return product;
}

void run(const gemm::Product& product, KernelContext& context) {
  const std::array products = {product};
  CHECK(context.workspace_bytes >= gemm::products_workspace_bytes(products, context.threads.count()));
  gemm::run_products(products, context.threads, context.workspace);
}

}  // namespace

void linear_forward(const WeightView& weight, const float* x, std::int64_t n, float beta, float* y, KernelContext& context, Arithmetic arithmetic) {
  if (n == 0) return;
  if (n > gemm::kFewRows || arithmetic != Arithmetic::kFp32) return run(forward_product(weight, x, n, beta, y, arithmetic), context);
  CHECK(beta == 0 || beta == 1);
  CHECK(context.workspace_bytes >= gemm::few_rows_linear_workspace_bytes(weight, n));
  gemm::few_rows_linear(weight, x, n, beta, y, context);
}

std::size_t linear_forward_workspace_bytes(const WeightView& weight, std::int64_t n, int threads, Arithmetic arithmetic) {
  if (n == 0) return 0;
  if (arithmetic != Arithmetic::kFp32)
    return gemm::products_workspace_bytes(std::array{forward_product(weight, nullptr, n, 0, nullptr, arithmetic)}, threads);
  const std::size_t few = gemm::few_rows_linear_workspace_bytes(weight, std::min(n, gemm::kFewRows));
  if (n <= gemm::kFewRows) return few;
  const std::array products = {forward_product(weight, nullptr, n, 0, nullptr, arithmetic)};
  return std::max(few, gemm::products_workspace_bytes(products, threads));
}

void linear_backward(const WeightView& weight, const float* dy, std::int64_t n, float beta, float* dx, KernelContext& context,
                     Arithmetic arithmetic) {
  if (n == 0) return;
  run(backward_product(weight, dy, n, beta, dx, arithmetic), context);
}

std::size_t linear_backward_workspace_bytes(const WeightView& weight, std::int64_t n, int threads, Arithmetic arithmetic) {
  if (n == 0) return 0;
  const std::array products = {backward_product(weight, nullptr, n, 0, nullptr, arithmetic)};
  return gemm::products_workspace_bytes(products, threads);
}

}  // namespace evolora::cpu
