# Compare groups, person by person: Rscript compare.R [measure]     (reads long.csv in this folder; base R suffices)
args <- commandArgs(trailingOnly = TRUE)
measure <- if (length(args)) args[1] else "p_genuine"
long <- read.csv("long.csv", fileEncoding = "UTF-8", na.strings = "")
data <- long[long$measure == measure, ]
data$group <- factor(data$group)
if (is.null(data$subject)) data$subject <- data$file
data$subject <- factor(data$subject)

cat(measure, "per group: faces, mean, median\n")
for (g in levels(data$group)) {
  own <- data$value[data$group == g]
  cat(sprintf("%s: %d, %.4f, %.4f\n", g, length(own), mean(own), median(own)))
}

# One mean per person and group; people who are in both of two groups are compared with themselves.
means <- tapply(data$value, list(data$subject, data$group), mean)
both <- means[complete.cases(means), , drop = FALSE]
if (ncol(means) == 2 && nrow(both) > 1 && sd(both[, 2] - both[, 1]) > 0) {
  test <- t.test(both[, 2], both[, 1], paired = TRUE)
  cat(sprintf("%s minus %s, %d people: %.4f (95%% %.4f to %.4f), p = %.4g\n", colnames(means)[2], colnames(means)[1],
              nrow(both), mean(both[, 2] - both[, 1]), test$conf.int[1], test$conf.int[2], test$p.value))
} else {
  cat("fewer than two people are in both of two groups: compare the groups with a mixed model\n")
}

# With the package lme4, a mixed model with all faces:
#   library(lme4); summary(lmer(value ~ group + (1 | subject), data = data))

pdf("compare-R.pdf", width = 5, height = 4)
boxplot(value ~ group, data = data, ylab = measure, xlab = "")
stripchart(value ~ group, data = data, vertical = TRUE, method = "jitter", add = TRUE, pch = 20)
invisible(dev.off())
