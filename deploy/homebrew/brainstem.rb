# Homebrew formula. The project has no public address yet, so where its source archive lies is told by the environment:
#   export HOMEBREW_BRAINSTEM_URL=file:///tmp/brainstem-0.1.0.tar.gz
#   brew install --formula deploy/homebrew/brainstem.rb
class Brainstem < Formula
  desc "Proxy in front of Ollama that answers life support itself"
  homepage "https://ollama.com"
  url ENV.fetch("HOMEBREW_BRAINSTEM_URL", "file:///tmp/brainstem-0.1.0.tar.gz")
  version "0.1.0"
  license "Apache-2.0"

  depends_on "cmake" => :build
  depends_on "rust" => :build
  depends_on xcode: :build
  depends_on arch: :arm64
  depends_on :macos

  def install
    system "cargo", "build", "--release", "--locked"
    libexec.install "target/release/brainstem"
    # MLX looks for its kernels beside the binary; the folder that it was built in will be gone.
    Dir["target/release/build/mlx-sys-*/**/mlx.metallib"].first(1).each { |kernels| libexec.install kernels }

    (pkgshare/"models").install "models/intent"
    (etc/"brainstem").install "rules"
    inreplace "deploy/config.toml" do |config|
      config.gsub! "/etc/brainstem", etc/"brainstem"
      config.gsub! "/usr/share/brainstem", pkgshare
      config.gsub! "/usr/share/doc/brainstem/brainstem.toml", pkgshare/"brainstem.toml", audit_result: false
    end
    etc.install "deploy/config.toml" => "brainstem/brainstem.toml"
    pkgshare.install "config/brainstem.toml"

    (bin/"brainstem").write_env_script libexec/"brainstem", BRAINSTEM_CONFIG: "${BRAINSTEM_CONFIG:-#{etc}/brainstem/brainstem.toml}"
    generate_completions_from_executable(libexec/"brainstem", "completions")
    (buildpath/"man").mkpath
    system libexec/"brainstem", "man", "--out", "man"
    man1.install Dir["man/*.1"]
  end

  service do
    run [opt_bin/"brainstem", "serve"]
    keep_alive true
    log_path var/"log/brainstem.log"
    error_log_path var/"log/brainstem.log"
  end

  test do
    assert_match "ok: ", shell_output("#{bin}/brainstem check")
    assert_match "\"route\": \"local\"", shell_output("#{bin}/brainstem explain --json hello")
  end
end
