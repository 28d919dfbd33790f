#include "spectrogram/spectrogram.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "problem.h"
#include "spectrogram_reference.h"

namespace pyemo::sanitize {

namespace {

using spectrogram::Padding;

const char* name(Padding padding) {
    switch (padding) {
        case Padding::none:
            return "none";
        case Padding::reflect:
            return "reflect";
        case Padding::constant:
            return "constant";
        case Padding::replicate:
            return "replicate";
        case Padding::circular:
            return "circular";
    }
    return "unknown";
}

class SpectrogramProblem : public Problem {
  public:
    explicit SpectrogramProblem(Random& random)
        : dtype_(random.any_of({DType::float32, DType::float64, DType::int16})) {
        SpectrogramSlices& a = arguments_;
        const bool streamed = random.one_in(40);
        draw_settings(random, streamed);
        draw_slicing(random, streamed);
        draw_filters(random);

        const bool several = a.waveforms > 1;
        const Sizes waveform = several ? Sizes{a.waveforms, a.samples} : Sizes{a.samples};
        waveform_.emplace(dtype_, waveform, any_layout(random, waveform, {true, true}));
        const bool integers = dtype_ == DType::int16;
        waveform_->fill([&] { return random.uniform(-1, 1) * (integers ? 32767 : 1); });
        a.waveform = waveform_->values();
        for (double& x : a.waveform) x /= integers ? 32768 : 1;

        const Sizes taper{a.settings.n_fft};
        window_.emplace(DType::float64, taper, any_layout(random, taper, {true, false}));
        // Up to a size, some weights zero, as those of a taper shorter than its frame.
        const double zeros = random.one_in(3) ? random.uniform(0, 0.5) : 0;
        window_->fill([&] { return random.uniform(0, 1) < zeros ? 0 : random.uniform(0.05, 1); });
        a.window = window_->values();
        plan_.emplace(a.settings, filters_ ? filters_->pointer() : nullptr);

        const DType wide = dtype_ == DType::float64 ? DType::float64 : DType::float32;
        Sizes output{a.slices, a.rows(), a.slicing.frames};
        if (several) output.insert(output.begin(), a.waveforms);
        const bool backward = !integers && !streamed;
        if (backward) {
            grad_output_.emplace(wide, output, contiguous(output, random.between(0, 3)));
            grad_output_->fill([&] { return random.uniform(-1, 1); });
            a.grad_output = grad_output_->values();
        }
        SpectrogramExpected expected = spectrogram_slices(a, dtype_ == DType::float64 ? 3e-15 : 1e-6);
        results.push_back(
            {"output", Tensor(wide, output, contiguous(output, random.between(0, 3))), std::move(expected.output)});
        if (backward) {
            results.push_back({"gradient of waveform",
                               Tensor(wide, waveform, contiguous(waveform, random.between(0, 3))),
                               std::move(expected.grad_waveform)});
        }
        threads_ = random.between(1, 2);
    }

    void run() override {
        const spectrogram::Slicing slicing = arguments_.slicing;
        spectrogram::forward(*plan_, waveform_->view(), window_->view(), slicing, results[0].tensor.view(), threads_);
        if (!grad_output_) return;
        spectrogram::backward(*plan_, grad_output_->view(), waveform_->view(), window_->view(), slicing,
                              results[1].tensor.view(), threads_);
    }

    std::string describe() const override {
        const SpectrogramSlices& a = arguments_;
        const spectrogram::Settings& s = a.settings;
        return "n_fft " + std::to_string(s.n_fft) + ", hop " + std::to_string(s.hop_length) + ", padding " +
               name(s.padding) + ", power " + std::to_string(s.power) + ", log_scale " + std::to_string(s.log_scale) +
               ", amin " + std::to_string(s.amin) + (s.top_db ? ", top_db " + std::to_string(*s.top_db) : "") + ", " +
               std::to_string(a.filter_count) + " filters, waveform " + waveform_->describe() + ", " +
               std::to_string(a.slices) + " slices of " + std::to_string(a.slicing.frames) + " frames, hop " +
               std::to_string(a.slicing.hop) + ", threads " + std::to_string(threads_);
    }

  private:
    // `streamed`: with an output too large for the caches, of few frames in many slices.
    void draw_settings(Random& random, bool streamed) {
        spectrogram::Settings& s = arguments_.settings;
        s.n_fft = random.between(1, 260);
        if (random.one_in(2)) s.n_fft = random.any_of({1, 2, 4, 31, 64, 97, 128, 240, 256, 400, 441, 512, 606, 1024});
        if (random.one_in(15)) s.n_fft = random.any_of({997, 1536, 2048, 4096});
        if (streamed) s.n_fft = random.between(100, 126);
        s.hop_length =
            std::max(1, random.one_in(5) ? random.between(1, s.n_fft * 3 / 2) : s.n_fft / random.between(1, 8));
        s.padding =
            random.any_of({Padding::none, Padding::reflect, Padding::constant, Padding::replicate, Padding::circular});
        s.power = random.any_of({2.0, 2.0, 1.0, 3.0, 0.7});
        s.log_scale = random.any_of({0.0, 10 * std::log10(2.0), std::log(2.0)});
        s.amin = random.any_of({1e-10, 1e-5, 1e-2});
        if (random.one_in(3)) s.top_db = random.uniform(5, 80);
    }

    void draw_slicing(Random& random, bool streamed) {
        SpectrogramSlices& a = arguments_;
        const spectrogram::Settings& s = a.settings;
        // As many frames as the plain transform of them takes little time for.
        const int most = std::clamp(20000000 / (s.n_fft * s.n_fft), 2, 300);
        const int frames = streamed ? 550 : random.between(1, random.one_in(4) ? most : std::min(most, 40));
        a.samples =
            std::max(1, (frames - 1) * s.hop_length + s.n_fft - 2 * a.padding() + random.between(0, s.hop_length - 1));
        a.waveforms = streamed ? 1 : random.between(1, 3);
        const int there = a.frames();
        a.slicing.frames = random.between(1, std::max(1, there * 5 / 4));
        a.slicing.hop = random.between(1, static_cast<int>(a.slicing.frames) * 5 / 4 + 1);
        if (streamed) a.slicing = {200, 1};
        const int all = static_cast<int>((there + a.slicing.hop - 1) / a.slicing.hop);
        a.slices = streamed || random.one_in(2) ? all : random.between(std::min(all, 1), all);
        // No more of an output than the transforms that it comes from.
        if (!streamed) a.slices = static_cast<int>(std::min<std::int64_t>(a.slices, 2 + 4 * there / a.slicing.frames));
    }

    void draw_filters(Random& random) {
        SpectrogramSlices& a = arguments_;
        a.filter_count = random.one_in(2) ? random.between(1, 40) : 0;
        if (!a.filter_count) return;
        const Sizes sizes{a.filter_count, a.bins()};
        filters_.emplace(DType::float64, sizes, any_layout(random, sizes, {true, false}));
        // Rows of zeros but for some neighbouring bins, which may be none.
        int k = 0, begin = 0, end = 0;
        filters_->fill([&] {
            if (k % a.bins() == 0) {
                begin = random.between(0, a.bins());
                end = begin + random.between(0, random.one_in(4) ? a.bins() : 12);
            }
            const int bin = k++ % a.bins();
            return bin >= begin && bin < end ? random.uniform(0.01, 1) : 0;
        });
        a.filters = filters_->values();
    }

    const DType dtype_;
    SpectrogramSlices arguments_{};
    std::optional<Tensor> waveform_, window_, filters_, grad_output_;
    std::optional<spectrogram::Plan> plan_;
    int threads_;
};

}  // namespace

std::unique_ptr<Problem> draw_spectrogram(Random& random) { return std::make_unique<SpectrogramProblem>(random); }

}  // namespace pyemo::sanitize
