# SPDX-License-Identifier: Apache-2.0
# Made eustockmarkets.csv, with R 4.2.2 of Debian 12 (apt-get install r-base-core):
#     Rscript dump.R > eustockmarkets.csv
write.csv(data.frame(time = sprintf("%.6f", time(EuStockMarkets)), EuStockMarkets),
          quote = FALSE, row.names = FALSE)
