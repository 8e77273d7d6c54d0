// The distributions that tests and intervals need (Boost.Math underneath). Pure functions, thread-safe, fp64.
#pragma once

namespace evolora {

double normal_cdf(double z);
double normal_quantile(double p);  // 0 < p < 1

// Student's t with df > 0 degrees of freedom (need not be whole). t may be infinite.
double student_t_cdf(double t, double df);
double student_t_quantile(double p, double df);  // 0 < p < 1

// Noncentral t: the distribution of (Z + noncentrality) / sqrt(chi2(df) / df). What a t statistic follows when there is an effect.
double noncentral_t_cdf(double t, double df, double noncentrality);

}  // namespace evolora
