// Pages: what comes from a file never becomes markup, the verdict comes first with the numbers of the pure functions, broken folders are one line.
#include "report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "evolve/search_test_support.h"
#include "measure/paired_bench.h"
#include "measure/sequential_design.h"
#include "report/bench_report.h"
#include "report/curve_figures.h"
#include "report/embedded.h"
#include "report/facts.h"
#include "report/search_report.h"
#include "report/test_bench_folder.h"
#include "report/text.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kHostile = "</script><img src=x onerror=alert(1)> & \"double\" 'single' <!-- \x01";

std::string good(const Result<std::string>& page) {
  EXPECT_TRUE(page.ok()) << page.error().message;
  return page.ok() ? *page : "";
}

Error bad(const Result<std::string>& page) {
  EXPECT_FALSE(page.ok());
  return page.ok() ? Error{} : page.error();
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// ---- building blocks

TEST(Html, EscapesWhatMarkupIsMadeOf) {
  EXPECT_EQ(escape_html("a<b> & \"c\" 'd'"), "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;");
  EXPECT_EQ(escape_html("gr\xC3\xBC\xC3\x9F\x65"), "gr\xC3\xBC\xC3\x9F\x65");
  EXPECT_EQ(escape_html(std::string_view("a\0b\x07\x7f", 5)),
            "a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(escape_html("\xff<"), "\xEF\xBF\xBD&lt;");
  EXPECT_EQ(escape_html("two\nlines\t"), "two\nlines\t");
}

TEST(Html, DataInsideAScriptCannotEndItAndComesBackUnchanged) {
  const Json data = {{"</script>", {"<!--", "]]>", kHostile, 1.5, nullptr}}};
  const std::string text = json_for_script(data);
  EXPECT_THAT(text, Not(HasSubstr("<")));
  EXPECT_EQ(Json::parse(text), data);
}

// RFC 6234's "abc" in Base64, as `printf abc | openssl dgst -sha256 -binary | base64` prints it.
TEST(Html, HashesAreThoseOfThePolicy) { EXPECT_EQ(csp_hash("abc"), "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="); }

TEST(Html, ATableNamesItsRowsAndColumns) {
  const std::string html = table_html({.caption = "A <table>", .header = {"what", "how much"}, .rows = {{"<x>", "1"}}});
  EXPECT_THAT(html, HasSubstr("<caption>A &lt;table&gt;</caption>"));
  EXPECT_THAT(html, HasSubstr("<th scope=\"col\" class=\"figure\">how much</th>"));
  EXPECT_THAT(html, HasSubstr("<th scope=\"row\">&lt;x&gt;</th><td class=\"figure\">1</td>"));
}

TEST(Facts, WordsForAShellStayOneWord) {
  EXPECT_EQ(shell_word("runs/bench-1"), "runs/bench-1");
  EXPECT_EQ(shell_word("my bench"), "'my bench'");
  EXPECT_EQ(shell_word("it's $(rm)"), "'it'\\''s $(rm)'");
  EXPECT_EQ(shell_word(""), "''");
}

TEST(Text, FiguresForPeople) {
  EXPECT_EQ(figure_text(12345.6), "12346");
  EXPECT_EQ(figure_text(12.3456), "12.35");
  EXPECT_EQ(figure_text(0.00123456), "0.00123");
  EXPECT_EQ(human_bytes(34500000), "34.5 MB");
  EXPECT_EQ(human_duration(3723), "1:02:03");
  EXPECT_EQ(human_duration(1e300), "-");
}

TEST(Curves, ABandIsMeanAndRangeOfTheCurvesThatHaveThePoint) {
  const std::vector<Curve> curves = {{{1, 2}, {2, 4}}, {{1, 4}, {3, 7}}, {{1, 9}}};
  const std::vector<BandPoint> band = band_of(curves);
  ASSERT_EQ(band.size(), 3U);
  // Small whole numbers: sums and the one division are exact up to a rounding.
  EXPECT_DOUBLE_EQ(band[0].mean, 5);
  EXPECT_EQ(band[0].low, 2);
  EXPECT_EQ(band[0].high, 9);
  EXPECT_EQ(band[0].n, 3U);
  EXPECT_EQ(band[1].x, 2);
  EXPECT_EQ(band[1].n, 1U);
  EXPECT_EQ(band[2].mean, 7);
}

TEST(Curves, NotesThatAreNoCurveAreNamed) {
  TrialRecord record = test_trial(test_bench_plan("c"), ArmRole::kCandidate, 3);
  EXPECT_EQ(curve_of(record, "train_losses", "s")->size(), 2U);
  EXPECT_EQ(curve_of(record, "no_such", "s")->size(), 0U);
  for (const Json& wrong : {Json("text"), Json{{1, 2, 3}}, Json{{1, "x"}}, Json::array({1, 2}), Json{{"a", 1}}}) {
    record.notes["memory"] = wrong;
    const auto curve = curve_of(record, "memory", "DIR/samples.jsonl");
    ASSERT_FALSE(curve.ok()) << wrong;
    EXPECT_THAT(curve.error().message, HasSubstr("DIR/samples.jsonl: candidate trial 3: notes.memory"));
  }
}

TEST(Curves, LongTablesAreThinnedAndSaySo) {
  Curve points;
  for (int i = 1; i <= 1000; ++i) points.push_back({static_cast<double>(i), 1});
  const LineSeries series{"train", "training", points};
  const Figure figure = line_figure("Loss", "loss", "step", std::span(&series, 1), {}, false);
  EXPECT_EQ(figure.tables[0].rows.size(), 50U);
  EXPECT_EQ(figure.tables[0].rows.back()[0], "1000");
  EXPECT_THAT(figure.tables[0].caption, HasSubstr("one of every 20 points"));
  EXPECT_EQ(figure.data["lines"][0]["points"].size(), 1000U);
}

TEST(Embedded, ThePlotLibraryIsWholeAndCarriesItsLicences) {
  EXPECT_THAT(std::string(report_script()), HasSubstr("Plot.plot"));
  EXPECT_THAT(std::string(report_style()), HasSubstr("prefers-color-scheme: dark"));
  for (const std::string_view script : {plot_library_base(), plot_library(), report_script()}) {
    EXPECT_EQ(script.find("</script"), std::string_view::npos) << "would end its element";
    EXPECT_EQ(script.find("<!--"), std::string_view::npos);
  }
  if (plot_library().empty()) GTEST_SKIP() << "this build has no plot library";
  for (const std::string_view script : {plot_library_base(), plot_library()})
    EXPECT_NE(script.find("this permission notice appear in all copies"), std::string_view::npos);
}

// ---- pages

class ReportOfBench : public testing::Test {
 protected:
  // The page before its scripts, which hold the words of the plot library.
  std::string body() {
    const std::string html = good(report_of_folder(files_, folder_.path()));
    return html.substr(0, html.find("</main>"));
  }
  Error error() { return bad(report_of_folder(files_, folder_.path())); }

  FileSystem& files_ = real_file_system();
  TestFolder folder_;
};

TEST_F(ReportOfBench, TheVerdictComesFirstAndIsThatOfTheSamples) {
  const BenchPlan plan = test_bench_plan("quick");
  write_test_bench(folder_.path(), plan, 6);
  const auto records = read_samples(files_, folder_ / "samples.jsonl", plan_digest(plan));
  ASSERT_TRUE(records.ok());
  const Verdict verdict = assess(plan, *records).verdict;
  ASSERT_EQ(verdict.decision, Decision::kAccept) << verdict.reason;
  const std::string page = body();
  const std::size_t main = page.find("<main>");
  const std::size_t word_at = page.find("<p class=\"word\">ACCEPT</p>");
  ASSERT_NE(word_at, std::string::npos);
  EXPECT_LT(word_at, page.find("<dl")) << "nothing but the title stands above the verdict";
  EXPECT_LT(word_at, page.find("<figure"));
  EXPECT_EQ(page.substr(main, word_at - main).find("<p>"), std::string::npos);
  EXPECT_THAT(page, HasSubstr(escape_html(verdict.reason)));
  for (const Claim& claim : verdict.claims) {
    EXPECT_THAT(page, HasSubstr(fmt::format("<b>{:.4f}</b>", claim.ratio)));
    EXPECT_THAT(page, HasSubstr(fmt::format("interval {:.4f} to {:.4f}", claim.interval.low, claim.interval.high)));
  }
  for (const Gate& gate : verdict.gates) EXPECT_THAT(page, HasSubstr(fmt::format("{}</th><td>{}</td>", gate.name, word(gate.state))));
  const std::vector<const TrialRecord*> candidates = trials_of(plan.design, *records, ArmRole::kCandidate);
  for (const FigureSummary& f : figures_of(candidates)) EXPECT_THAT(page, HasSubstr("<td class=\"figure\">" + figure_text(f.summary.mean) + "</td>"));
  // All of it once more from the data that is drawn.
  const std::string html = good(report_of_folder(files_, folder_.path()));
  if (plot_library().empty()) return;
  const std::string mark = "id=\"charts\">";
  const std::size_t begin = html.find(mark) + mark.size();
  const Json charts = Json::parse(html.substr(begin, html.find("</script>", begin) - begin));
  EXPECT_EQ(charts[0]["rows"][0]["value"], verdict.claims[0].ratio);
  EXPECT_EQ(charts[0]["rows"][2]["high"], verdict.claims[1].interval.high);
  EXPECT_EQ(charts[2]["points"].size(), 6U) << "the warm-up is no sample";
}

TEST_F(ReportOfBench, NamesFromFilesDoNotBecomeMarkup) {
  BenchPlan plan = test_bench_plan(kHostile);
  plan.baseline.name = kHostile;
  plan.common[kHostile] = kHostile;
  plan.machine[kHostile] = kHostile;
  write_test_bench(folder_.path(), plan, 5);
  std::string samples = *files_.read(folder_ / "samples.jsonl");
  TrialRecord failed = test_trial(plan, ArmRole::kBaseline, 6);
  failed.status = TrialStatus::kFailed;
  failed.reason = kHostile;
  TrialRecord partner = test_trial(plan, ArmRole::kCandidate, 6);
  write_test_file(folder_ / "samples.jsonl", samples + trial_to_json(failed).dump() + "\n" + trial_to_json(partner).dump() + "\n");
  const std::string html = good(report_of_folder(files_, folder_.path()));
  EXPECT_THAT(html, Not(HasSubstr("<img")));
  EXPECT_THAT(html, Not(HasSubstr(std::string(1, '\x01'))));
  EXPECT_THAT(body(), HasSubstr("baseline 1 failed"));
  const std::size_t scripts = plot_library().empty() ? 0 : 4;
  EXPECT_EQ(count_of(html, "<script"), count_of(html, "</script>"));
  EXPECT_EQ(count_of(html, "</script>"), scripts);
}

TEST_F(ReportOfBench, ThePageLoadsNothingAndItsPolicyNamesItsScripts) {
  write_test_bench(folder_.path(), test_bench_plan("c"), 5);
  const std::string html = good(report_of_folder(files_, folder_.path()));
  const std::string policy = html.substr(html.find("Content-Security-Policy"), 800);
  EXPECT_THAT(policy, HasSubstr("default-src 'none'"));
  EXPECT_THAT(policy, Not(HasSubstr("script-src 'unsafe-inline'")));
  for (const char* part : {"<link", "src=\"http", "@import", "url(http"}) EXPECT_THAT(body(), Not(HasSubstr(part)));
  if (plot_library().empty()) return;
  for (const std::string_view script : {plot_library_base(), plot_library(), report_script()}) EXPECT_THAT(policy, HasSubstr(csp_hash(script)));
}

TEST_F(ReportOfBench, TheSequentialDesignIsShownWithItsWarning) {
  BenchPlan plan = test_bench_plan("quick");
  plan.design = BenchDesign::kSequential;
  plan.trials = 3;
  write_test_bench(folder_.path(), plan, 2);
  const std::string page = body();
  EXPECT_THAT(page, HasSubstr(escape_html(drift_warning())));
  EXPECT_THAT(page, HasSubstr("<p class=\"word\">IMPROVED</p>"));
  EXPECT_THAT(page, HasSubstr("Seconds of each trial"));
}

TEST_F(ReportOfBench, AnUnfinishedOrEmptyBenchSaysSo) {
  const BenchPlan plan = test_bench_plan("c");
  write_test_bench(folder_.path(), plan, 3);
  EXPECT_THAT(body(), HasSubstr("has not ended this bench yet"));
  write_test_file(folder_ / "samples.jsonl", "");
  const std::string page = body();
  EXPECT_THAT(page, HasSubstr("INCONCLUSIVE"));
  EXPECT_THAT(page, HasSubstr("needs two pairs"));
  EXPECT_THAT(page, HasSubstr("no loss curves"));
}

TEST_F(ReportOfBench, BrokenFoldersAreOneLine) {
  EXPECT_THAT(bad(report_of_folder(files_, folder_ / "nowhere")).message, HasSubstr("no such folder"));
  EXPECT_THAT(error().message, HasSubstr("none of plan.json (a bench), run.json (a training run) and search.sqlite (a search)"));
  const BenchPlan plan = test_bench_plan("c");
  write_test_bench(folder_.path(), plan, 6);
  write_test_file(folder_ / "verdict.json", R"({"decision": "REJECT"})");
  EXPECT_THAT(error().message, HasSubstr("verdict.json: 'decision' is \"REJECT\", but the samples give \"ACCEPT\""));
  write_test_file(folder_ / "samples.jsonl", "{}\n");
  EXPECT_THAT(error().message, HasSubstr("samples.jsonl:1: "));
  write_test_file(folder_ / "plan.json", "{");
  EXPECT_THAT(error().message, HasSubstr("plan.json"));
  EXPECT_EQ(error().message.find('\n'), std::string::npos);
}

class ReportOfSearch : public ReportOfBench {
 protected:
  SearchState search(const SearchPlan& plan, TestJudge& judge) {
    auto archive = Archive::create(archive_path(folder_.path()), search_plan_to_json(plan));
    CHECK(archive.ok());
    auto state = search_in(*archive, plan, judge);
    CHECK(state.ok());
    return std::move(*state);
  }
};

TEST_F(ReportOfSearch, SaysWhatMayBeClaimedAndHowItCameAbout) {
  SearchPlan plan = test_plan("random", 30, 3);
  plan.proposers = {"random", "evolution"};
  TestJudge judge;
  const SearchState state = search(plan, judge);
  const auto best = winner(plan, state);
  ASSERT_TRUE(best.has_value());
  const std::string page = body();
  const std::size_t word_at = page.find("<p class=\"word\">CONFIRMED</p>");
  ASSERT_NE(word_at, std::string::npos);
  EXPECT_LT(word_at, page.find("<dl"));
  EXPECT_LT(word_at, page.find("<figure"));
  EXPECT_THAT(page, HasSubstr(escape_html(measured_text(*best->confirmation))));
  for (const char* part : {"Best so far, speed", "Best so far, memory", "Finalists", "What became of the proposals", "Grid",
                           "All individuals of random", "All individuals of evolution", "evolora evolve best"})
    EXPECT_THAT(page, HasSubstr(part));
}

TEST_F(ReportOfSearch, TheLastPointIsTheLeaderAndTheFunnelEndsWithTheScored) {
  const SearchPlan plan = test_plan("evolution", 40, 5);
  TestJudge judge;
  const SearchState state = search(plan, judge);
  const auto opened = open_search(folder_.path());
  ASSERT_TRUE(opened.ok());
  const auto figures = best_over_time(opened->plan, opened->events, "archive");
  ASSERT_TRUE(figures.ok());
  const Json points = (*figures)[0].data["series"][0]["points"];
  const RunState& run = state.runs.front();
  ASSERT_TRUE(run.leader.has_value());
  const std::vector<double>& logs = run.population.at(*run.leader).judgement.log_speed;
  EXPECT_EQ(points.front(), Json::array({0, 1.0, 1.0, 1.0})) << "the start";
  EXPECT_EQ(points.back(), Json::array({run.evaluations, std::exp(summarize(logs).mean), std::exp(lower_bound(logs)), std::exp(upper_bound(logs))}));

  const std::vector<Figure> funnel = gates_funnel(state);
  ASSERT_EQ(funnel.size(), 1U);
  std::int64_t scored = 0;
  for (const Individual* one : run.population.history()) scored += one->number > 0 && one->judgement.outcome == Outcome::kScored ? 1 : 0;
  const Json rows = funnel[0].data["rows"];
  EXPECT_EQ(rows.front()["value"], run.population.size() - 1);
  EXPECT_EQ(rows.back()["value"], scored);
  EXPECT_EQ(rows[rows.size() - 2]["value"], scored) << "what no gate ended is scored";
}

TEST(Lineage, EveryCandidateStandsOnceBelowItsParent) {
  Population population(Objective::kSpeed, 1, 8);
  const auto add = [&](std::vector<std::int64_t> parents, const std::string& origin, Outcome outcome = Outcome::kScored) {
    Individual one{.number = population.size(), .parents = std::move(parents), .origin = origin};
    one.judgement = {.outcome = outcome, .gate = "compile"};
    if (outcome == Outcome::kScored) one.judgement.log_speed = {0, 0};
    population.add(one);
  };
  add({}, "start");
  add({0}, "a");
  add({1, 0}, "b");
  add({0}, "c", Outcome::kRejected);
  add({1}, "d");
  add({99}, "e");  // of an archive that somebody edited
  const std::string x = "speed 1.000 x (at least 1.000 x)";
  EXPECT_EQ(lineage_text(population),
            "0 start: " + x + "\n|- 1 a: " + x + "\n|  |- 2 b: " + x + "\n|  `- 4 d: " + x + "\n|- 3 c: rejected at compile\n`- 5 e: " + x + "\n");
  for (int i = 0; i < 500; ++i) add({population.size() - 1}, "deep");
  const std::string text = lineage_text(population);
  EXPECT_EQ(count_of(text, "\n"), kMostLines + 1);
  EXPECT_THAT(text, Not(HasSubstr("rejected"))) << "of many only what was scored";
}

TEST_F(ReportOfSearch, OneThatHasNotEndedSaysSo) {
  const SearchPlan plan = test_plan("random", 30, 3);
  ASSERT_TRUE(Archive::create(archive_path(folder_.path()), search_plan_to_json(plan)).ok());
  EXPECT_THAT(body(), HasSubstr("<p class=\"word\">NOT ENDED</p>"));
  write_test_file(archive_path(folder_.path()), "not a database");
  EXPECT_THAT(error().message, HasSubstr("search.sqlite"));
  EXPECT_EQ(error().message.find('\n'), std::string::npos);
}

class ReportOfRun : public ReportOfBench {};

TEST_F(ReportOfRun, ShowsOutcomeCurvesAndConfiguration) {
  write_test_file(folder_ / "run.json",
                  R"({"status": "completed", "steps": 20, "val_loss_before": 3.25, "val_loss": 2.125, "tokens_per_second": 512.5,
    "wall_seconds": 75.0, "peak_rss_bytes": 45600000, "expected_peak_rss_bytes": 46000000, "config": {"model": "<m>", "iters": 20}, "machine": {"cores": 2}})");
  write_test_file(
      folder_ / "metrics.jsonl",
      "{\"step\": 0, \"val_loss\": 3.25, \"rss\": 40000000}\n{\"step\": 10, \"train_loss\": 2.5, \"rss\": 45000000, \"tokens_per_s\": 500}\n"
      "{\"step\": 20, \"train_loss\": 2.25, \"val_loss\": 2.125, \"rss\": 45500000, \"tokens_per_s\": 525}\n{\"step\": 21, \"tr");
  const std::string page = body();
  EXPECT_LT(page.find("validation loss 3.2500 before, 2.1250 after"), page.find("<dl"));
  for (const char* part :
       {"45.6 MB", "46.0 MB were expected", "1:15", "512.5", "&lt;m&gt;", "Resident memory", "Speed", "evolora train --config config.json"})
    EXPECT_THAT(page, HasSubstr(part));
  EXPECT_THAT(page, Not(HasSubstr("Learning rate"))) << "there is none in these lines";
}

TEST_F(ReportOfRun, BrokenFilesAreOneLine) {
  write_test_file(folder_ / "run.json", "[]");
  EXPECT_THAT(error().message, HasSubstr("run.json"));
  write_test_file(folder_ / "run.json", "{}");
  EXPECT_THAT(body(), HasSubstr("nothing to draw"));
  write_test_file(folder_ / "metrics.jsonl", "{\"step\": 1}\n{\"loss\": 1}\n");
  EXPECT_THAT(error().message, HasSubstr("metrics.jsonl:2: expected an object with a number 'step'"));
  write_test_file(folder_ / "metrics.jsonl", "{\n");
  EXPECT_THAT(error().message, HasSubstr("metrics.jsonl:1: "));
}

}  // namespace
}  // namespace evolora
