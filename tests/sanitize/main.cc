#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "common/isa.h"
#include "common/parallel.h"
#include "problem.h"
#include "sanitizers.h"

namespace pyemo::sanitize {

namespace {

struct Operation {
    const char* name;
    std::unique_ptr<Problem> (*draw)(Random&);
};

constexpr Operation kOperations[] = {
    {"window_attention", draw_window_attention},
    {"spectrogram", draw_spectrogram},
    {"color_deconvolution", draw_color_deconvolution},
    {"dense", draw_dense},
    {"layer_norm", draw_layer_norm},
};

constexpr Isa kAllIsas[] = {
#define PYEMO_ENUMERATOR(isa, _) Isa::isa,
    PYEMO_FOR_EACH_ISA(PYEMO_ENUMERATOR, )
#undef PYEMO_ENUMERATOR
};

struct Options {
    int problems = 100, seed = 1;
    std::string operation;  // only this one, unless empty
    int only = -1;          // the only problem, unless negative
};

// Of an operation on an instruction set.
struct Tally {
    int problems = 0, failed = 0;
    double seconds = 0, largest_error = 0;  // as a share of what is allowed
};

// The element of a result that is furthest from what it should be.
struct Worst {
    double share = 0;
    std::size_t at = 0;
    double got = 0;
};

Worst worst_of(const Result& result) {
    const std::vector<double> values = result.tensor.values();
    Worst worst;
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double error = std::fabs(values[i] - result.expected.values[i]);
        const double share = !std::isfinite(values[i]) ? INFINITY : error == 0 ? 0 : error / result.expected.allowed[i];
        if (share > worst.share) worst = {share, i, values[i]};
    }
    return worst;
}

// Prints what is wrong; returns the largest error, infinite if there is more wrong than values.
double compare(const Problem& problem, const std::string& where) {
    double largest = 0;
    for (const Result& result : problem.results) {
        const Worst worst = worst_of(result);
        largest = std::max(largest, worst.share);
        if (worst.share > 1) {
            std::printf("FAILED: %s\n  %s, element %zu of %s: got %.9g, expected %.9g, allowed error %.3g\n",
                        where.c_str(), result.name.c_str(), worst.at, result.tensor.describe().c_str(), worst.got,
                        result.expected.values[worst.at], result.expected.allowed[worst.at]);
        }
        if (!result.tensor.gaps_are_untouched()) {
            std::printf("FAILED: %s\n  %s: written between the elements of %s\n", where.c_str(), result.name.c_str(),
                        result.tensor.describe().c_str());
            largest = INFINITY;
        }
    }
    return largest;
}

// On a thread of its own: what a thread keeps for its next call would be larger than the next call needs, and hide what
// is read or written beyond.
void run(Problem& problem) {
    for (Result& result : problem.results) result.tensor.poison();
    std::exception_ptr error;
    std::thread([&] {
        try {
            problem.run();
        } catch (...) {
            error = std::current_exception();
        }
    }).join();
    if (error) std::rethrow_exception(error);
}

int check(const Operation& operation, const std::vector<Isa>& isas, const Options& options) {
    std::vector<Tally> tallies(isas.size());
    const int first = std::max(options.only, 0), end = options.only < 0 ? options.problems : options.only + 1;
    for (int i = first; i < end; ++i) {
        const auto index = static_cast<int>(&operation - kOperations);
        Random random(std::seed_seq{options.seed, index, i});
        const std::unique_ptr<Problem> problem = operation.draw(random);
        for (std::size_t k = 0; k < isas.size(); ++k) {
            const std::string where = std::string(operation.name) + " on " + name(isas[k]) + ": " +
                                      problem->describe() + "\n  repeat: build/sanitize/sanitize --seed " +
                                      std::to_string(options.seed) + " --op " + operation.name + " --problem " +
                                      std::to_string(i);
            set_under_way(where);
            set_active_isa(name(isas[k]));
            const auto begin = std::chrono::steady_clock::now();
            run(*problem);
            const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
            const double error = compare(*problem, where);
            ++tallies[k].problems;
            tallies[k].failed += !(error <= 1);
            tallies[k].seconds += seconds.count();
            tallies[k].largest_error = std::max(tallies[k].largest_error, error);
        }
    }
    int failed = 0;
    for (std::size_t k = 0; k < isas.size(); ++k) {
        const Tally& tally = tallies[k];
        std::printf("%-21s %-12s %8d %7d %8.1f   %.2f\n", operation.name, name(isas[k]), tally.problems, tally.failed,
                    tally.seconds, tally.largest_error);
        failed += tally.failed;
    }
    std::fflush(stdout);
    return failed;
}

Options parse(int count, char** arguments) {
    Options options;
    for (int i = 1; i + 1 < count; i += 2) {
        const std::string option = arguments[i], value = arguments[i + 1];
        if (option == "--problems") {
            options.problems = std::stoi(value);
        } else if (option == "--seed") {
            options.seed = std::stoi(value);
        } else if (option == "--op") {
            options.operation = value;
        } else if (option == "--problem") {
            options.only = std::stoi(value);
        } else {
            throw std::invalid_argument("unknown option " + option);
        }
    }
    if (count % 2 == 0) throw std::invalid_argument("an option without its value");
    return options;
}

int run_all(const Options& options) {
    omp_set_dynamic(0);  // two threads on one core, too
    if (!has_parallel_runtime()) throw std::runtime_error("no OpenMP runtime, so nothing would run on two threads");
    const std::vector<Isa> isas = supported_isas();
    std::printf(
        "Random problems of seed %d, forward and backward, under AddressSanitizer and "
        "UndefinedBehaviorSanitizer.\nThe largest error is a share of the error that rounding may cause; "
        "above 1, a problem has failed.\n",
        options.seed);
    for (Isa isa : kAllIsas) {
        const bool runs = std::find(isas.begin(), isas.end(), isa) != isas.end();
        if (!runs) std::printf("%s: not checked, because this processor cannot run it.\n", name(isa));
        if (runs && std::string(name(isa)) == "amx") std::printf("amx: with emulated tile registers.\n");
    }
    std::printf("\n%-21s %-12s %8s %7s %8s   %s\n", "operation", "instructions", "problems", "failed", "seconds",
                "largest error");
    int failed = 0, operations = 0;
    for (const Operation& operation : kOperations) {
        if (!options.operation.empty() && options.operation != operation.name) continue;
        failed += check(operation, isas, options);
        ++operations;
    }
    if (operations == 0) throw std::invalid_argument("unknown operation " + options.operation);
    if (failed) {
        std::printf("\nFAILED: %d\n", failed);
        return 1;
    }
    std::printf("\nNo wrong value and no wrong access to memory.\n");
    return 0;
}

}  // namespace

}  // namespace pyemo::sanitize

int main(int count, char** arguments) {
    try {
        return pyemo::sanitize::run_all(pyemo::sanitize::parse(count, arguments));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "sanitize: %s\n", error.what());
        return 2;
    }
}
