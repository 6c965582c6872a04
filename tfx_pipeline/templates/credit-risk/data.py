"""Synthetic loans, few of which default, with a planted rule.

    python data.py [--rows 20000] [--seed 17]

The log-odds of a default are a sum: late payments, few years with an employer, the purpose, the
home, and two things that no column holds: whether debt and instalments are over 45 % of the income,
and whether the loan is for a business of someone who is new in the job.
"""

import numpy as np
import pandas as pd

from tfx_pipeline.templates.synthetic import Made, Truth, auc, main, sigmoid

FILE = "data.csv"
ROWS = 20_000
BURDEN_LIMIT = 0.45  # Of the income: above it the odds of a default are twelve times as high.


def make(rows: int, seed: int) -> Made:
    """Loans, and whether they were paid back."""
    random = np.random.default_rng(seed)
    loans = pd.DataFrame(
        {
            "age": random.integers(19, 75, rows),
            "income": np.round(random.lognormal(10.4, 0.5, rows), -2),
            "employed_years": np.round(random.exponential(6, rows).clip(0, 40), 1),
            "late_payments": random.poisson(0.5, rows),
            "amount": np.round(random.lognormal(9.3, 0.7, rows), -2),
            "term_months": random.choice([24, 36, 48, 60], rows),
            "home": random.choice(["rent", "own", "mortgage"], rows, p=[0.45, 0.2, 0.35]),
            "purpose": random.choice(
                ["car", "education", "home", "business"], rows, p=[0.4, 0.2, 0.25, 0.15]
            ),
            "region": random.choice(["north", "east", "south", "west"], rows),
        }
    )
    loans.insert(2, "debt", np.round(loans.income * random.beta(1.5, 5, rows), -2))
    instalments = 12 * loans.amount / loans.term_months
    over = (loans.debt + instalments) / loans.income > BURDEN_LIMIT
    new_business = (loans.purpose == "business") & (loans.employed_years < 2)
    without = (
        -4.4
        + 0.9 * loans.late_payments
        - 0.1 * loans.employed_years.clip(upper=15)
        + 0.5 * (loans.home == "rent")
        + 0.4 * (loans.purpose == "education")
    )
    log_odds = without + 2.5 * over + 2.0 * new_business
    defaults = random.random(rows) < sigmoid(log_odds.to_numpy())
    loans["outcome"] = np.where(defaults, "default", "repaid")
    return Made(
        loans,
        Truth(
            planted=f"burden over {BURDEN_LIMIT:.0%} of the income: +2.5 in log-odds; "
            "a business loan within two years in a job: +2.0; late payments: +0.9 each; ...",
            metric="auc",
            best=auc(defaults, log_odds.to_numpy()),
            blind="without the burden and the new business",
            blind_to_it=auc(defaults, without.to_numpy()),
        ),
    )


if __name__ == "__main__":
    main(__file__)
