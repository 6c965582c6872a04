"""Synthetic customers of a telephone company, some of whom leave, with a planted rule.

    python data.py [--rows 10000] [--seed 17]

Who has a yearly contract stays, whatever happens. Who pays by the month leaves early or not at all
(the log-odds fall with the tenure), and leaves after the fourth call to support.
"""

import numpy as np
import pandas as pd

from tfx_pipeline.templates.synthetic import Made, Truth, auc, main, sigmoid

FILE = "data.csv"
ROWS = 10_000
CALLS_THAT_ANNOY = 4
CONTRACTS = ["monthly", "one year", "two years"]


def make(rows: int, seed: int) -> Made:
    """Customers, and who left by the end of the next month."""
    random = np.random.default_rng(seed)
    tenure = random.integers(1, 72, rows)
    last_bill = pd.Timestamp("2025-06-30")
    customers = pd.DataFrame(
        {
            "signed_up": [f"{last_bill - pd.DateOffset(months=int(m)):%Y-%m-%d}" for m in tenure],
            "tenure_months": tenure,
            "contract": random.choice(
                ["monthly", "one year", "two years"], rows, p=[0.5, 0.3, 0.2]
            ),
            "plan": random.choice(["basic", "plus", "unlimited"], rows, p=[0.4, 0.35, 0.25]),
            "payment": random.choice(["card", "transfer", "bill"], rows, p=[0.5, 0.3, 0.2]),
            "monthly_charge": np.round(random.normal(45, 12, rows).clip(10, 110), 2),
            "support_calls": random.poisson(1.8, rows),
            "data_gb": np.round(random.lognormal(2, 0.8, rows), 1),
        }
    )
    # What a meter did not send.
    customers.loc[random.random(rows) < 0.03, "data_gb"] = np.nan
    annoyed = customers.support_calls >= CALLS_THAT_ANNOY
    costs = 0.03 * (customers.monthly_charge - 45) + 0.6 * (customers.payment == "bill")
    monthly = customers.contract == "monthly"
    log_odds = costs + np.where(monthly, 0.6 - 0.05 * tenure + 2.2 * annoyed, -3.5)
    left = random.random(rows) < sigmoid(log_odds.to_numpy())
    customers["left"] = np.where(left, "yes", "no")
    return Made(
        customers,
        Truth(
            planted=f"monthly contracts: {CALLS_THAT_ANNOY} calls to support +2.2 in log-odds, "
            "a month of tenure -0.05; yearly ones: neither counts; a dollar of charge +0.03; ...",
            metric="auc",
            best=auc(left, log_odds.to_numpy()),
            blind="by contract and cost alone",
            blind_to_it=auc(left, (costs + 3.0 * monthly).to_numpy()),
        ),
    )


if __name__ == "__main__":
    main(__file__)
