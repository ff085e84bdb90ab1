"""Members share their noise in ways that leave the marginals alone: independent, in pairs, in strata."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from fuxi_ens.forecast import strata
from fuxi_ens.forecast.draws import CONTROL, Draws, member_stream
from fuxi_ens.forecast.strata import permuted, prime_from, shuffled
from fuxi_ens.model.noise import Mirrored, Silent, Stream

INIT_TIME = np.datetime64("2018-01-02T12:00", "ns")
CPU = torch.device("cpu")
KINDS = ("random", "antithetic", "stratified")
SIZE = 20_000


def draws(kind, members=10, *, size=SIZE, step=0, seed=7, init_time=INIT_TIME, uniform=False):
    """Draws of all members, [member, element] float64."""
    sources = [Draws(kind, seed, members).source(init_time, m, step, CPU) for m in range(members)]
    return np.stack([(s.uniform if uniform else s.normal)((size,)).numpy() for s in sources]).astype("f8")


class TestMarginals:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("members", [2, 10, 12])
    def test_each_member_is_standard_normal(self, kind, members):
        for member in draws(kind, members):
            # Standard errors are 0.007 for the mean and 0.01 for the variance.
            assert abs(member.mean()) < 0.03
            assert abs(member.var() - 1) < 0.05
            assert stats.kstest(member, "norm").pvalue > 1e-4

    @pytest.mark.parametrize("kind", KINDS)
    def test_an_element_is_standard_normal_over_init_times(self, kind):
        times = INIT_TIME + np.arange(500) * np.timedelta64(6, "h")
        ens = np.stack([draws(kind, 6, size=3, init_time=time) for time in times])
        for member, element in itertools.product(range(6), range(3)):
            assert stats.kstest(ens[:, member, element], "norm").pvalue > 1e-4

    @pytest.mark.parametrize("kind", KINDS)
    def test_dropout_is_as_probable_as_it_says(self, kind):
        ens = draws(kind, uniform=True)
        assert ens.min() >= 0
        assert ens.max() <= 1
        for member in ens:
            assert stats.kstest(member, "uniform").pvalue > 1e-4

    @pytest.mark.parametrize("kind", KINDS)
    def test_neighboring_elements_are_independent(self, kind):
        for member in draws(kind):
            assert abs(np.corrcoef(member[:-1], member[1:])[0, 1]) < 0.03


class TestCorrelation:
    def test_random_members_are_independent(self):
        correlation = np.corrcoef(draws("random"))
        assert np.abs(correlation[~np.eye(10, dtype=bool)]).max() < 0.035

    def test_antithetic_pairs_are_exact_mirrors_and_pairs_independent(self):
        ens = draws("antithetic")
        assert np.array_equal(ens[1::2], -ens[::2])
        assert np.abs(np.corrcoef(ens[::2])[~np.eye(5, dtype=bool)]).max() < 0.035

    def test_antithetic_uniform_draws_come_from_opposite_ends(self):
        ens = draws("antithetic", uniform=True)
        np.testing.assert_allclose(ens[1::2], 1 - ens[::2], atol=1e-7)

    @pytest.mark.parametrize("members", [5, 10, 50])
    def test_stratified_members_repel_each_other_equally(self, members):
        correlation = np.corrcoef(draws("stratified", members))
        off = correlation[~np.eye(members, dtype=bool)]
        # Of two members of different strata only the means of the strata are tied.
        edges = stats.norm.pdf(stats.norm.ppf(np.arange(members + 1) / members))
        between = np.mean((members * np.diff(edges)) ** 2)
        assert off.mean() == pytest.approx(-between / (members - 1), abs=0.002)
        assert np.abs(off - off.mean()).max() < 0.04

    @pytest.mark.parametrize("members", [2, 7, 10, 50])
    def test_every_stratum_has_one_member_at_every_element(self, members):
        level = stats.norm.cdf(draws("stratified", members, size=500))
        # Rounding to float32 may carry a draw across the edge of its stratum; these are 500 out of 2**24.
        assert np.array_equal(np.sort((level * members).astype(int), axis=0), np.tile(np.arange(members)[:, None], 500))

    @pytest.mark.parametrize("members", [10, 50])
    def test_the_mean_of_a_stratified_ensemble_is_closer_to_the_truth(self, members):
        random, stratified = (draws(kind, members).mean(axis=0).std() for kind in ("random", "stratified"))
        assert random == pytest.approx(members**-0.5, rel=0.05)
        assert stratified < 0.35 * random


class TestPermutations:
    """Which stratum a member sits in, against all that can be drawn."""

    @staticmethod
    def table(members):
        """Where each place goes, [place, all pairs (a, s)]."""
        prime = prime_from(members)
        a, s = (t.flatten() for t in torch.meshgrid(torch.arange(1, prime), torch.arange(prime), indexing="ij"))
        return np.stack([permuted(j, a, s, members).numpy() for j in range(members)])

    @pytest.mark.parametrize("members", [1, 2, 3, 4, 8, 9, 11, 14, 24, 50])
    def test_all_of_them_are_permutations(self, members):
        table = self.table(members)
        assert np.array_equal(np.sort(table, axis=0), np.broadcast_to(np.arange(members)[:, None], table.shape))

    @pytest.mark.parametrize("members", [2, 3, 7, 13])
    def test_of_a_prime_number_of_members_two_go_to_all_pairs_of_places_equally_often(self, members):
        table = self.table(members)
        for j, k in itertools.permutations(range(members), 2):
            counts = np.zeros((members, members), int)
            np.add.at(counts, (table[j], table[k]), 1)
            assert np.array_equal(counts, 1 - np.eye(members, dtype=int))

    @pytest.mark.parametrize("members", [3, 4])
    def test_after_the_shuffle_that_holds_for_any_number_of_members(self, members):
        # All orders are equally likely: see the next test.
        table, counts = self.table(members), np.zeros((members, members), int)
        for order in itertools.permutations(range(members)):
            np.add.at(counts, (table[order[0]], table[order[1]]), 1)
        off = counts[~np.eye(members, dtype=bool)]
        assert np.trace(counts) == 0
        assert np.all(off == off[0])

    def test_all_orders_of_the_shuffle_are_equally_likely(self):
        orders = list(itertools.permutations(range(4)))
        counts = np.bincount([orders.index(tuple(shuffled([7, k], 4))) for k in range(4800)], minlength=24)
        assert stats.chisquare(counts).pvalue > 1e-4

    @pytest.mark.parametrize(("least", "prime"), [(1, 2), (2, 2), (4, 5), (20, 23), (50, 53), (53, 53), (90, 97)])
    def test_primes(self, least, prime):
        assert prime_from(least) == prime

    def test_no_draw_is_infinite_at_the_ends_of_the_uniform_draws(self):
        class Ends(Stream):
            def uniform(self, shape):
                return torch.tensor([0.0, 1.0 - 2.0**-24])

        for place in range(3):
            made = strata.Stratified(Ends([1], CPU), Stream([2], CPU), place, [np.arange(3)])
            assert torch.isfinite(made.normal((2,))).all()


class TestBits:
    @pytest.mark.parametrize("kind", KINDS)
    def test_seed_init_time_member_and_step_each_change_the_draws(self, kind):
        found = {
            tuple(Draws(kind, seed, 4).source(INIT_TIME + h * np.timedelta64(1, "h"), m, s, CPU).normal((3,)).tolist())
            for seed, h, m, s in itertools.product((7, 8), (0, 12), range(4), (0, 1))
        }
        assert len(found) == 32

    @pytest.mark.parametrize("kind", ["random", "antithetic"])
    def test_the_size_of_the_ensemble_does_not_matter(self, kind):
        assert np.array_equal(draws(kind, 4, size=50), draws(kind, 20, size=50)[:4])

    def test_the_size_of_a_stratified_ensemble_does(self):
        assert not np.array_equal(draws("stratified", 4, size=50), draws("stratified", 20, size=50)[:4])

    def test_the_first_of_a_pair_is_the_random_member(self):
        assert np.array_equal(draws("antithetic", 6, size=50)[::2], draws("random", 6, size=50)[::2])

    def test_a_field_drawn_in_pieces_is_still_one_latin_hypercube(self, monkeypatch):
        monkeypatch.setattr(strata, "CHUNK", 64)
        level = stats.norm.cdf(draws("stratified", 5, size=150))
        assert np.array_equal(np.sort((level * 5).astype(int), axis=0), np.tile(np.arange(5)[:, None], 150))

    @pytest.mark.parametrize("kind", KINDS)
    def test_members_beyond_the_ensemble_fill_batches(self, kind):
        assert Draws(kind, 7, 4).source(INIT_TIME, 6, 0, CPU).normal((3,)).isfinite().all()

    def test_the_control_member_has_no_noise(self):
        source = Draws("random", 7, 4).source(INIT_TIME, CONTROL, 0, CPU)
        assert isinstance(source, Silent)
        assert source.normal((2, 3)).tolist() == [[0.0] * 3] * 2
        assert source.uniform((2,)).tolist() == [1.0, 1.0]


def test_a_mirror_keeps_the_order_of_draws():
    plain, mirror = (member_stream(7, INIT_TIME, 0, 0, CPU) for _ in range(2))
    mirror = Mirrored(mirror)
    assert torch.equal(mirror.normal((4,)), -plain.normal((4,)))
    assert torch.equal(mirror.uniform((4,)), 1 - plain.uniform((4,)))
    assert torch.equal(mirror.normal((2, 2)), -plain.normal((2, 2)))


def test_words_fill_the_whole_range():
    words = Stream([1], CPU).words((100_000,))
    assert words.dtype == torch.int32
    assert words.min() < -0.999 * 2**31
    assert words.max() > 0.999 * 2**31
    assert abs(words.double().mean()) < 0.02 * 2**31


class TestScores:
    """Of a perfect normal ensemble, relative to that of infinitely many members (benchmarks/draws.py has more)."""

    @staticmethod
    def crps(kind, members, elements=1):
        """Expected standard and fair CRPS, by closed form for the truth: E|x - Y| and E|Y - Y'|."""
        size = 20_000
        ens = draws(kind, members, size=size * elements).reshape(members, size, elements).sum(2) / elements**0.5
        error = np.mean(2 * stats.norm.pdf(ens) + ens * (2 * stats.norm.cdf(ens) - 1))
        pairs = np.mean([np.abs(a - b) for a, b in itertools.combinations(ens, 2)])
        return np.array([error - pairs * (members - 1) / members / 2, error - pairs / 2]) * np.pi**0.5

    @pytest.mark.parametrize("members", [4, 10])
    def test_independent_members(self, members):
        # Verification 4.4: 1 + 1/M, and 1 without bias.
        np.testing.assert_allclose(self.crps("random", members), [1 + 1 / members, 1], atol=0.01)

    @pytest.mark.parametrize("members", [4, 10])
    def test_antithetic_pairs_gain_in_the_standard_score_and_are_flattered_by_the_fair_one(self, members):
        # M/2 of the M(M-1)/2 pairs are E|X - (-X)| = sqrt(2) E|X - X'| apart.
        tie = (2**0.5 - 1) / (members - 1)
        expected = [2 - (1 - 1 / members) * (1 + tie), 2 - (1 + tie)]
        np.testing.assert_allclose(self.crps("antithetic", members), expected, atol=0.01)

    @pytest.mark.parametrize("members", [4, 10])
    def test_strata_of_many_elements_repel_like_members_with_a_common_mean(self, members):
        # By the central limit theorem: normal, with the correlation of the strata.
        edges = stats.norm.pdf(stats.norm.ppf(np.arange(members + 1) / members))
        tie = (1 + np.mean((members * np.diff(edges)) ** 2) / (members - 1)) ** 0.5
        expected = [2 - (1 - 1 / members) * tie, 2 - tie]
        np.testing.assert_allclose(self.crps("stratified", members, elements=8), expected, atol=0.01)
