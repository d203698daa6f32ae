package nft
